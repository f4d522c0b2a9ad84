"""`feature_info` tells the true strides for every patch size and stride that is accepted; others are refused."""

import pytest
import torch

from mmvssm import create_model, list_models
from mmvssm.backbones import HierarchicalBackbone, family_of, load_weights

HIERARCHICAL = [n for n in list_models('test_*') if issubclass(family_of(n).cls, HierarchicalBackbone)]
ACCEPTED = [
    *(('test_vmamba', dict(patch_size=p)) for p in (2, 4, 8)),
    ('test_vmamba', dict(patch_size=8, stem_version='v1', downsample_version='v1')),
    ('test_vmamba', dict(patch_size=2, downsample_version='v2')),
    ('test_localvmamba', dict(patch_size=8)),
    ('test_localvmamba', dict(patch_size=1)),
    ('test_efficientvmamba', dict(patch_size=2)),
    ('test_vil', dict(patch_size=7)),
    ('test_vil', dict(stride=8)),
    ('test_vim', dict(patch_size=4)),
    ('test_vim', dict(patch_size=8, stride=5)),
    ('test_localvim', dict(patch_size=8)),
]


@pytest.mark.parametrize(('name', 'options'), ACCEPTED, ids=lambda v: v if isinstance(v, str) else str(v))
def test_strides_are_true(name, options):
    """Maps of an image that is longer by 8 strides are longer by 8 pixels."""
    model = create_model(name, features_only=True, out_indices=(0, 1), **options).eval()
    strides = model.feature_info.reduction()
    length = 3 * strides[-1]
    with torch.no_grad():
        short, long = (model(torch.randn(1, 3, n, length)) for n in (length, length + 8 * strides[-1]))
    grown = [(b.shape[2] - a.shape[2]) * stride for a, b, stride in zip(short, long, strides)]
    assert grown == [8 * strides[-1]] * 2


@pytest.mark.parametrize('value', [0, -4, 3, 1000, 4.0, '4', True], ids=repr)
@pytest.mark.parametrize('name', ['test_vmamba', 'test_localvmamba', 'test_efficientvmamba'])
def test_other_patch_sizes_are_refused(name, value):
    with torch.device('meta'), pytest.raises(ValueError, match=rf'patch_size={value!r} .*allowed: .*2, 4, 8'):
        create_model(name, patch_size=value)


@pytest.mark.parametrize(
    ('options', 'message'),
    [(dict(patch_size=v), f'patch_size={v} .*allowed: 1 to 64') for v in (0, -1, 1000, 2.5)]
    + [(dict(stride=v), f'stride={v} .*allowed: {a}') for v, a in ((0, 'None, 1'), (17, '1 to 16'), (8.0, 'None, 1'))],
    ids=str,
)
@pytest.mark.parametrize('name', ['test_vil', 'test_vim'])
def test_other_patches_of_plain_models_are_refused(name, options, message):
    with torch.device('meta'), pytest.raises(ValueError, match=message):
        create_model(name, **options)


@pytest.mark.parametrize('name', HIERARCHICAL)
@pytest.mark.parametrize('output_stride', [8, 16])
def test_output_stride_keeps_the_map(name, output_stride):
    torch.manual_seed(0)
    model = create_model(name, features_only=True, output_stride=output_stride).train()
    plain = create_model(name, features_only=True)
    load_weights(model, plain.state_dict(), log=False)
    maps = model(torch.randn(2, 3, 48, 64))
    strides = [min(stride, output_stride) for stride in (4, 8, 16, 32)]
    assert [(48 // m.shape[2], 64 // m.shape[3]) for m in maps] == [(s, s) for s in strides]
    assert model.feature_info.reduction() == strides
    sum(m.square().mean() for m in maps).backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None]


@pytest.mark.parametrize('stage', ['conv', 'merging'])
def test_a_downsampling_that_keeps_the_map_holds_the_strided_one(stage):
    """Every other position of the map, of which it now makes all."""
    version = dict(conv='v3', merging='v1')[stage]
    options = dict(features_only=True, downsample_version=version)
    plain, dense = (create_model('test_vmamba', **options, **o).eval() for o in ({}, dict(output_stride=16)))
    x = torch.randn(1, 6, 8, 32)
    with torch.no_grad():
        dense.layers[2].load_state_dict(plain.layers[2].state_dict())
        torch.testing.assert_close(dense.downsample(2, x)[:, ::2, ::2], plain.downsample(2, x))


@pytest.mark.parametrize(
    ('name', 'options', 'message'),
    [
        ('test_vmamba', dict(output_stride=12), 'output_stride=12 is not supported; allowed: 4, 8, 16, 32'),
        ('test_vmamba', dict(output_stride=16, downsample_version='v2'), "output_stride=16 .* allowed: .*'v1', 'v3'"),
    ],
    ids=['no stride', 'even kernel'],
)
def test_other_output_strides_are_refused(name, options, message):
    with torch.device('meta'), pytest.raises(ValueError, match=message):
        create_model(name, **options)
