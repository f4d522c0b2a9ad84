"""VMamba beyond the golden cases: the contract, published sizes, the official grammar, older key names."""

import re

import pytest
import torch

from mmvssm.backbones import create_model, load_weights
from mmvssm.backbones.vmamba import VMamba, parse_forward_type

from .contract import BackboneContract


class TestVMamba(BackboneContract):
    micro = 'test_vmamba'
    parameters = {
        'vmambav0_tiny': 22_893_448,
        'vmambav0_small': 44_417_416,
        'vmambav0_base': 76_254_056,
        'vmamba_tiny_0220': 32_484_904,
        'vmamba_tiny_s2l5': 30_705_832,
        'vmamba_small_s2l15': 50_147_752,
        'vmamba_base_s2l15': 88_557_800,
        'vmamba_tiny_s1l8': 30_249_064,
        'vmamba_small_s1l20': 49_012_840,
        'vmamba_base_s1l20': 86_614_504,
    }
    gflops = {
        'vmambav0_tiny': 5.626895,
        'vmambav0_small': 11.231523,
        'vmambav0_base': 18.020115,
        'vmamba_tiny_s2l5': 4.857742,
        'vmamba_small_s2l15': 8.715775,
        'vmamba_base_s2l15': 15.358944,
        'vmamba_tiny_s1l8': 4.905610,
        'vmamba_small_s1l20': 8.612211,
        'vmamba_base_s1l20': 15.220860,
    }


def micro(**kwargs) -> VMamba:
    torch.manual_seed(0)
    return VMamba(**{**dict(depths=(1, 1, 1, 1), dims=(16, 16, 32, 32), num_classes=5), **kwargs}).eval()


@pytest.mark.parametrize('suffix', ['', '_noz', '_nozact', '_oact', '_onnone', '_ondwconv3', '_oncnorm', '_onsoftmax'])
@pytest.mark.parametrize('base', ['v0', 'v05', 'v051d', 'v052d', 'v052dc'])
def test_official_forward_types_run(base, suffix):
    model = micro(forward_type=base + suffix)
    with torch.no_grad():
        assert model(torch.randn(1, 3, 33, 46)).isfinite().all()


@pytest.mark.parametrize('forward_type', ['v9', 'v05_nozz', 'm0_noz', ''])
def test_unknown_forward_type_lists_what_is_allowed(forward_type):
    with pytest.raises(ValueError, match=r'forward_type=.*allowed.*v05'):
        parse_forward_type(forward_type)


def test_equal_function_types_agree():
    a, b = micro(forward_type='v05_noz'), micro(forward_type='v3_noz')
    x = torch.randn(1, 3, 40, 56)
    with torch.no_grad():
        torch.testing.assert_close(a(x), b(x), rtol=0, atol=0)


def test_version_0_maps_floor_at_the_stem_and_ceil_later():
    model = create_model(
        'vmambav0_tiny', depths=(1, 1, 1, 1), dims=(16, 16, 16, 16), features_only=True, out_norms=True
    )
    with torch.no_grad():
        shapes = [tuple(m.shape[2:]) for m in model(torch.randn(1, 3, 70, 102))]
    assert shapes == [(17, 25), (9, 13), (5, 7), (3, 4)]


def test_archived_names_load(tmp_path):
    """The January 2024 code's names, in a training checkpoint's wrapper."""
    kwargs = dict(forward_type='v0', conv_bias=True, mlp_ratio=0.0, stem_version='v1', downsample_version='v1')
    model, other = micro(**kwargs), micro(**kwargs)
    renames = [
        ('classifier.norm.', 'norm.'),
        ('classifier.head.', 'head.'),
        ('patch_embed.0.', 'patch_embed.proj.'),
        ('patch_embed.2.', 'patch_embed.norm.'),
        ('.op.', '.self_attention.'),
        ('.downsample.norm.', '.downsample.1.'),
        ('.downsample.reduction.', '.downsample.2.'),
    ]

    def old(key):
        key = re.sub(r'(blocks\.\d+)\.norm\.', r'\1.ln_1.', key)
        for new, archived in renames:
            key = key.replace(new, archived)
        return key

    torch.save({'model': {old(k): v for k, v in model.state_dict().items()}}, tmp_path / 'old.pth')
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    load_weights(other, tmp_path / 'old.pth', log=False)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(other.state_dict()[key], value, rtol=0, atol=0)


def test_channels_first_linear_weights_load():
    model = micro()
    state = {k: v[..., None, None] if 'in_proj' in k else v for k, v in model.state_dict().items()}
    load_weights(micro(), state, log=False)


def test_wrong_variant_is_named():
    with torch.device('meta'):
        state = create_model('vmamba_tiny_s2l5').state_dict()
        model = create_model('vmamba_tiny_s1l8')
    with pytest.raises(ValueError, match=r'(?s)does not fit vmamba_tiny_s1l8.*looks like vmamba_tiny_s2l5'):
        load_weights(model, state, log=False)


@pytest.mark.parametrize('forward_type', ['v05_noz', 'v05_noz_oncnorm'])
def test_no_convolution_is_built_in_vain(forward_type, monkeypatch):
    built, build = [], torch.nn.Conv2d.__init__
    monkeypatch.setattr(torch.nn.Conv2d, '__init__', lambda self, *a, **k: built.append(self) or build(self, *a, **k))
    model = micro(forward_type=forward_type)
    assert len(built) == sum(isinstance(m, torch.nn.Conv2d) for m in model.modules())


def test_position_embedding_is_the_classifiers():
    whole, maps = micro(pos_embed=True), micro(pos_embed=True, features_only=True)
    assert load_weights(maps, whole.state_dict(), log=False).dropped[:1] == ['pos_embed']
