"""LocalVMamba beyond the golden cases: the contract, published sizes, directions."""

import pytest
import torch

from mmvssm import scans
from mmvssm.backbones.localvmamba import LocalVMamba

from .contract import BackboneContract, meta_model


class TestLocalVMamba(BackboneContract):
    micro = 'test_localvmamba'
    least = 4
    parameters = {
        'localvmamba_tiny': 25_527_160,
        'localvmamba_small': 49_748_536,
        'localvmamba_tiny_search': 4_576_656,
        'localvmamba_small_search': 9_148_512,
    }
    gflops = {'localvmamba_tiny': 5.7, 'localvmamba_small': 11.4}
    map_size = staticmethod(lambda length, stride: -(-(length // 4) // (stride // 4)))


def micro(directions, **kwargs) -> LocalVMamba:
    return LocalVMamba(directions, **{**dict(depths=(1, 1), dims=16, num_classes=5), **kwargs})


def test_supernet_has_a_logit_for_each_direction():
    model = micro(None)
    logits = [p for n, p in model.named_parameters() if n.endswith('multi_scan.weights')]
    assert [tuple(p.shape) for p in logits] == [(len(scans.LOCAL_SCAN), 1, 1, 1)] * 2
    model(torch.randn(2, 3, 30, 41)).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in logits)


def test_any_number_of_directions_works():
    model = micro([('v',), ('h', 'w7_flip', 'w2')])
    assert model(torch.randn(2, 3, 30, 41)).shape == (2, 5)


@pytest.mark.parametrize(
    ('directions', 'message'),
    [
        ([('h',)], 'directions has 1 layers, the model 2'),
        ([('h',), ('diagonal',)], r"directions\[1\]\[0\]: scan order 'diagonal' is unknown; allowed: h, v, .*wK"),
    ],
    ids=['one layer short', 'unknown name'],
)
def test_wrong_directions_are_named(directions, message):
    with pytest.raises(ValueError, match=message):
        micro(directions)


@pytest.mark.parametrize('target', ['localvmamba_tiny', 'localvmamba_small', 'localvim_tiny'])
def test_supernets_have_the_layers_of_their_target_and_all_directions(target):
    supernet, found = meta_model(f'{target}_search'), meta_model(target)
    layers = [[m.directions for m in model.modules() if hasattr(m, 'directions')] for model in (supernet, found)]
    assert layers[0] == [scans.LOCAL_SCAN] * len(layers[1])
    logits = [p for name, p in supernet.named_parameters() if name.endswith('multi_scan.weights')]
    assert len(logits) == len(layers[1])
