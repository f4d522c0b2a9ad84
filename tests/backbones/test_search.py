"""Supernets: layers with candidates of scan orders and a logit each, in four families."""

import pytest
import torch
import torch.nn.functional as F

from mmvssm import create_model, scans
from mmvssm.backbones import Choice
from mmvssm.backbones.localvmamba import LocalSS2D

FIELDS = {
    'test_localvmamba': 'directions',
    'test_localvim': 'directions',
    'test_vmamba': 'scan_orders',
    'test_vim': 'scan_orders',
}


def spiral(H, W):
    """An order of a user's own: rings from the outside in."""
    ring = torch.minimum(
        *(
            torch.minimum(i, n - 1 - i)
            for i, n in zip(torch.meshgrid(torch.arange(H), torch.arange(W), indexing='ij'), (H, W))
        )
    )
    return ring.flatten().argsort(stable=True)


CANDIDATES = ['h', 'w2_flip', 'v', spiral, 'w3']


def supernet(name, **more):
    torch.manual_seed(0)
    return create_model(name, num_classes=3, **{FIELDS[name]: None}, candidates=CANDIDATES, **more)


def choices(model):
    return [module for module in model.modules() if isinstance(module, Choice)]


@pytest.mark.parametrize('name', FIELDS)
def test_every_layer_chooses_from_the_candidates(name):
    model = supernet(name)
    found = choices(model)
    assert found
    assert all(choice.candidates == tuple(CANDIDATES) for choice in found)
    assert all(choice.weights.shape == (5, 1, 1, 1) for choice in found)
    assert all(0 < choice.weights.abs().max() < 0.01 for choice in found)
    model(torch.randn(2, 3, 40, 48)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize('name', FIELDS)
def test_gradients_are_finite_differences(name):
    model = supernet(name).double().eval()
    x = torch.randn(1, 3, 32, 40, dtype=torch.float64)
    weight = torch.randn(1, 3, dtype=torch.float64)
    parameters = [choices(model)[0].weights, choices(model)[-1].weights, *list(model.parameters())[2:40:6]]
    gradients = torch.autograd.grad((model(x) * weight).sum(), parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        direction, h = torch.randn_like(parameter), 1e-6
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * h * direction
                ends.append((model(x) * weight).sum().item())
                parameter -= sign * h * direction
        found, wanted = (gradient * direction).sum().item(), (ends[0] - ends[1]) / (2 * h)
        assert found == pytest.approx(wanted, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize('name', FIELDS)
def test_recomputed_blocks_give_the_same(name):
    model, x = supernet(name), torch.randn(2, 3, 32, 40)
    grads = []
    for recompute in (False, True):
        model.set_grad_checkpointing(recompute)
        model.zero_grad()
        model(x).square().sum().backward()
        grads.append([parameter.grad.clone() for parameter in model.parameters()])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


def test_the_merge_is_the_published_one():
    choice, y = Choice(['h', 'v', 'w2']).double(), torch.randn(2, 7, 3, 5, dtype=torch.float64)
    with torch.no_grad():
        choice.weights.copy_(torch.tensor([0.3, -1.0, 2.0]).view(3, 1, 1, 1))
    share = choice.weights.flatten().softmax(0)
    wanted = sum(share[k] * F.layer_norm(y[:, :, k], (5,)) for k in range(3))
    torch.testing.assert_close(choice(y), wanted)


def test_the_temperature_divides_the_logits():
    choice = Choice(['h', 'v'])
    with torch.no_grad():
        choice.weights.copy_(torch.tensor([1.0, 0.0]).view(2, 1, 1, 1))
    choice.temperature = 0.1
    torch.testing.assert_close(choice.probabilities(), torch.tensor([10.0, 0.0]).softmax(0))


def test_a_layer_with_directions_of_its_own_does_not_choose():
    lists = [None, ['h', 'v'], None, None, ['w2']]
    model = create_model('test_localvmamba', directions=lists, candidates=['h', 'w7'])
    assert len(choices(model)) == 3


def test_twice_the_candidates_take_less_than_twice_the_memory():
    kept = {}
    for number in (4, 8):
        op, storages = LocalSS2D(32, 4, 2.0, 'auto', scans.LOCAL_SCAN[:number], True), {}

        def pack(tensor, storages=storages):
            storages[tensor.untyped_storage()._cdata] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            op(torch.randn(1, 28, 28, 32))
        own = {parameter.untyped_storage()._cdata for parameter in op.parameters()}
        kept[number] = sum(t.untyped_storage().nbytes() for key, t in storages.items() if key not in own)
    assert kept[8] <= 2.1 * kept[4]


WRONG = [
    ('test_localvmamba', dict(candidates=['h', 'v']), 'candidates=.*None beside directions'),
    ('test_localvmamba', dict(directions=None, candidates=[]), 'candidates=.* must be a list'),
    ('test_localvmamba', dict(directions=None, candidates='h'), 'candidates=.* must be a list'),
    ('test_localvim', dict(directions=None, candidates=['h', 'x']), r"candidates\[1\]: scan order 'x' is unknown"),
    ('test_localvim', dict(directions=None, candidates=['h', 'v', 'h']), "each order once; 'h' is there twice"),
    ('test_vmamba', dict(candidates=['h', 'v'], scan_orders=['h', 'h', 'v', 'v']), 'None beside scan_orders'),
    ('test_vmamba', dict(candidates=['h', 'v'], forward_type='v052dc'), "None beside forward_type='v052dc'"),
    ('test_vim', dict(candidates=['h', 'v'], class_token='first'), "candidates with class_token='first'"),
]


@pytest.mark.parametrize(('name', 'given', 'says'), WRONG, ids=[f'{name} {given}' for name, given, _ in WRONG])
def test_wrong_candidates_are_an_error(name, given, says):
    with pytest.raises(ValueError, match=says):
        create_model(name, **given)
