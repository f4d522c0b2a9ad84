"""Pyramids of single-stride maps: shapes, the published sizes, published names, registration."""

import pytest
import torch
from mmengine.registry import MODELS as ROOT

from mmvssm.openmmlab.necks import ChannelNorm, RescalePyramid, SimplePyramid, neck_state_dict
from mmvssm.registry import MODELS
from tests.backbones.contract import meta_model


def count(module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ('patch', 'sides'), [(16, [(28, 44), (14, 22), (7, 11), (3, 5)]), (8, [(14, 22), (7, 11), (3, 5), (1, 2)])]
)
def test_rescale_pyramid_shapes(patch, sides):
    outs = RescalePyramid(12, patch_size=patch)([torch.randn(2, 12, 7, 11)] * 4)
    assert [tuple(o.shape) for o in outs] == [(2, 12, *side) for side in sides]


def test_rescale_pyramid_levels_have_their_own_maps():
    neck = RescalePyramid([4, 8, 12, 16]).eval()
    maps = [torch.randn(1, c, 6, 6) for c in (4, 8, 12, 16)]
    outs = neck(maps)
    assert [o.shape[1] for o in outs] == [4, 8, 12, 16]
    assert outs[2] is maps[2]


def test_one_map_feeds_every_level():
    neck, x = RescalePyramid(4).eval(), torch.randn(1, 4, 6, 6)
    for a, b in zip(neck([x]), neck([x] * 4)):
        torch.testing.assert_close(a, b)
    with pytest.raises(ValueError, match='out_indices'):
        neck([x, x])


@pytest.mark.parametrize(('name', 'size'), [('vim_tiny', 7_556_928), ('vim_small', 27_500_160)])
def test_vim_with_its_segmentation_neck_has_the_published_size(name, size):
    backbone = meta_model(name, features_only=True, img_size=512, features='residual', last_feature='norm')
    with torch.device('meta'):
        neck = RescalePyramid(backbone.num_features)
    assert count(backbone) + count(neck) == size


def test_vim_with_its_detection_neck_has_the_published_size():
    backbone = meta_model('vim_tiny', features_only=True, img_size=1024, features='residual', out_indices=(23,))
    with torch.device('meta'):
        neck = SimplePyramid(192)
    assert count(backbone) == 7_703_232
    assert count(backbone) + count(neck) == 10_368_112


@pytest.mark.parametrize(('dim', 'millions'), [(192, 0.44), (384, 1.77), (768, 7.08)])
def test_neck_of_vil_has_the_published_size(dim, millions):
    with torch.device('meta'):
        assert count(RescalePyramid(dim)) / 1e6 == pytest.approx(millions, abs=0.005)


def test_simple_pyramid_shapes():
    outs = SimplePyramid(16, 24)([torch.zeros(1, 3, 1, 1), torch.randn(2, 16, 7, 11)])
    assert [tuple(o.shape) for o in outs] == [(2, 24, *s) for s in [(28, 44), (14, 22), (7, 11), (3, 5), (2, 3)]]
    torch.testing.assert_close(outs[4], outs[3][:, :, ::2, ::2])


def test_simple_pyramid_of_other_scales():
    neck = SimplePyramid(16, 8, stride=8, scales=(2, 1), num_outs=2)
    assert [o.shape[2] for o in neck(torch.randn(1, 16, 6, 6))] == [12, 6]
    assert neck.levels == ['simfp_2', 'simfp_3']


def test_channel_norm_is_over_channels():
    x = torch.randn(2, 5, 3, 4)
    y = ChannelNorm(5)(x)
    torch.testing.assert_close(y.mean(1), torch.zeros(2, 3, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(1, unbiased=False), torch.ones(2, 3, 4), atol=1e-3, rtol=0)


@pytest.mark.parametrize('neck', [RescalePyramid(8), SimplePyramid(8, 4)], ids=['rescale', 'simple'])
def test_every_parameter_gets_a_gradient(neck):
    neck.train()
    maps = [torch.randn(2, 8, 4, 6) for _ in range(4)]
    sum(o.square().sum() for o in neck(maps)).backward()
    assert not [n for n, p in neck.named_parameters() if p.grad is None]


@pytest.mark.parametrize(
    ('neck', 'prefix', 'renames'),
    [
        (RescalePyramid(8), 'backbone.', {}),
        (RescalePyramid(8), 'postprocessor.', {'fpn1.': 'processors.0.', 'fpn2.0.': 'processors.1.'}),
        (RescalePyramid(8, patch_size=8), 'postprocessor.', {'fpn1.0.': 'processors.0.'}),
        (RescalePyramid(8), 'neck.', {'fpn1.': 'upsample_4x.', 'fpn2.': 'upsample_2x.'}),
        (SimplePyramid(8, 4), 'backbone.', {}),
        (
            SimplePyramid(8, 4),
            'neck.',
            {
                'simfp_2.4.norm.': 'lateral_convs.0.norm_layer.',
                'simfp_2.5.norm.': 'fpn_convs.0.norm_layer.',
                'simfp_2.4.': 'lateral_convs.0.conv.',
                'simfp_2.5.': 'fpn_convs.0.conv.',
                'simfp_3.1.norm.': 'lateral_convs.1.norm_layer.',
                'simfp_3.2.norm.': 'fpn_convs.1.norm_layer.',
                'simfp_3.1.': 'lateral_convs.1.conv.',
                'simfp_3.2.': 'fpn_convs.1.conv.',
                'simfp_4.0.norm.': 'lateral_convs.2.norm_layer.',
                'simfp_4.1.norm.': 'fpn_convs.2.norm_layer.',
                'simfp_4.0.': 'lateral_convs.2.conv.',
                'simfp_4.1.': 'fpn_convs.2.conv.',
                'simfp_5.1.norm.': 'lateral_convs.3.norm_layer.',
                'simfp_5.2.norm.': 'fpn_convs.3.norm_layer.',
                'simfp_5.1.': 'lateral_convs.3.conv.',
                'simfp_5.2.': 'fpn_convs.3.conv.',
                'simfp_2.': 'fpn1.',
                'simfp_3.': 'fpn2.',
            },
        ),
    ],
    ids=['vim_seg', 'vil', 'vil of patches of 8', 'mmseg', 'vim_det', 'mmdet'],
)
def test_published_names_are_read(neck, prefix, renames):
    def published(key):
        own = next((own for own in renames if key.startswith(own)), '')
        return prefix + renames.get(own, '') + key[len(own) :]

    state = {published(key): value for key, value in neck.state_dict().items()}
    assert len(state) == len(neck.state_dict())
    found = neck_state_dict({**state, 'backbone.layers.0.norm.weight': torch.zeros(1)}, neck)
    assert {k: id(v) for k, v in found.items()} == {k: id(v) for k, v in state_items(neck, found)}
    neck.load_state_dict(found)


def state_items(neck, found):
    """The neck's own tensors, which is what the published names must lead back to."""
    return [(key, found[key]) for key in neck.state_dict()]


@pytest.mark.parametrize('name', ['RescalePyramid', 'SimplePyramid'])
def test_registered_under_both_names(name):
    assert ROOT.build(dict(type=f'mmvssm.{name}', in_channels=8)).__class__.__name__ == name
    assert MODELS.build(dict(type=name, in_channels=8)).__class__.__name__ == name


@pytest.mark.parametrize(
    ('build', 'field'),
    [
        (lambda: RescalePyramid(8, patch_size=4), 'patch_size'),
        (lambda: RescalePyramid([8, 8]), 'in_channels'),
        (lambda: SimplePyramid(8, scales=(3,)), 'scales'),
        (lambda: SimplePyramid(8, num_outs=2), 'num_outs'),
    ],
    ids=['patch_size', 'in_channels', 'scales', 'num_outs'],
)
def test_wrong_arguments_are_named(build, field):
    with pytest.raises(ValueError, match=field):
        build()
