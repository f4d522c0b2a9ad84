"""Layer-wise learning rates and weight decay, asked of the model itself."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

import mmvssm.openmmlab.optim  # noqa: F401
from mmvssm.backbones import create_model
from mmvssm.openmmlab.optim import layer_scales


class Detector(nn.Module):
    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.neck = nn.Conv2d(3, 4, 1)


def build(model, **paramwise_cfg):
    return build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
            constructor='LayerDecayOptimWrapperConstructor',
            paramwise_cfg=paramwise_cfg,
        ),
    )


def settings(model, wrapper) -> dict[str, tuple[float, float]]:
    names = {id(p): n for n, p in model.named_parameters()}
    groups = wrapper.optimizer.param_groups
    return {names[id(p)]: (g['lr'], g['weight_decay']) for g in groups for p in g['params']}


@pytest.fixture(scope='module')
def model():
    return Detector(create_model('test_vmamba', features_only=True, out_norms=True))


def test_every_parameter_is_in_one_group(model):
    got = settings(model, build(model, layer_decay=0.5))
    assert set(got) == {n for n, _ in model.named_parameters()}


def test_rates_fall_from_the_neck_to_the_stem(model):
    got = settings(model, build(model, layer_decay=0.5))
    rate = {n: lr / 1e-3 for n, (lr, _) in got.items()}
    depth = -torch.tensor(rate['backbone.patch_embed.0.weight']).log2()
    assert rate['neck.weight'] == rate['backbone.outnorm3.weight'] == 1.0
    assert rate['backbone.layers.3.blocks.0.norm.weight'] == 0.5
    assert rate['backbone.layers.2.downsample.1.weight'] == 0.25
    assert depth == 9  # five blocks, three downsamplings and the stem


def test_state_matrices_norms_and_biases_do_not_decay(model):
    got = settings(model, build(model))
    exempt = {n for n, (_, decay) in got.items() if decay == 0}
    assert {
        'backbone.layers.0.blocks.0.op.A_logs',
        'backbone.layers.0.blocks.0.op.Ds',
        'backbone.layers.0.blocks.0.op.dt_projs_bias',
        'backbone.layers.0.blocks.0.norm.weight',
        'backbone.patch_embed.0.bias',
        'neck.bias',
    } <= exempt
    assert 'backbone.layers.0.blocks.0.op.in_proj.weight' not in exempt


def test_no_decay_replaces_the_list_of_what_does_not_decay(model):
    got = settings(model, build(model, no_decay=['norm.', 'Ds']))
    exempt = {n for n, (_, decay) in got.items() if decay == 0}
    assert exempt == {n for n in got if 'norm.' in n or 'Ds' in n}
    assert {n for n, (_, decay) in got.items() if decay == 0.05} == set(got) - exempt


def test_frozen_parameters_are_left_out():
    model = Detector(create_model('test_vmamba', features_only=True))
    model.backbone.freeze(1)
    got = settings(model, build(model))
    assert not [n for n in got if n.startswith(('backbone.patch_embed', 'backbone.layers.0'))]


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(layer_decay=1.5), 'layer_decay'),
        (dict(num_layers=12), "unknown field 'num_layers'"),
        (dict(no_decay=['pos_embed']), "no_decay: 'pos_embed'"),
    ],
)
def test_wrong_settings_are_named(model, cfg, message):
    with pytest.raises((ValueError, TypeError), match=message):
        build(model, **cfg)


def test_scales_of_no_decay_are_one(model):
    assert set(layer_scales(model.backbone, 1.0).values()) == {1.0}
