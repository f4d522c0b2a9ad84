"""Each family's official files go into its models, and into no other's."""

import dataclasses

import pytest
import torch

from mmvssm import weights
from mmvssm.backbones import (
    FAMILIES,
    _loading,
    create_model,
    identify,
    list_models,
    load_weights,
    match_weights,
    meta_model,
)

MICRO = list_models('test_*')


def module(state, prefix):
    return {prefix + name: value for name, value in state.items()}


# how each family's authors wrap what they publish (sections on files in the papers' repositories)
PUBLISHED_AS = {
    'test_efficientvmamba': lambda state: {'state_dict': module(state, 'module.module.')},
    'test_heracles': lambda state: {'epoch': 3, 'arch': 'sct_s', 'state_dict': state, 'metric': 84.0},
    'test_localvim': lambda state: {'state_dict': state},
    'test_localvmamba': lambda state: {'state_dict': state},
    'test_vil': lambda state: {'state_dict': state, 'ctor_kwargs': {'dim': 8}, 'ckpt': 'x', 'stage_id': 'y'},
    'test_vim': lambda state: {'model': state, 'epoch': 3},
    'test_vmamba': lambda state: {'model': state, 'epoch': 3, 'max_accuracy': 82.6},
}


def filled(name, **kwargs):
    """A state dict of a variant with values that differ from its initial ones."""
    generator = torch.Generator().manual_seed(1)
    state = create_model(name, **kwargs).state_dict()
    return {
        key: torch.randn(value.shape, generator=generator) if value.is_floating_point() else value + 1
        for key, value in state.items()
    }


def test_every_family_has_its_wrapper_here():
    assert set(MICRO) <= set(PUBLISHED_AS)


@pytest.mark.parametrize('name', MICRO)
def test_a_published_file_and_its_conversion(tmp_path, name):
    state = filled(name)
    torch.save(PUBLISHED_AS[name](state), tmp_path / 'x.pth')
    weights.convert(tmp_path / 'x.pth', tmp_path / 'x.safetensors')
    weights.convert(tmp_path / 'x.safetensors', tmp_path / 'back.ckpt')
    for path in ('x.pth', 'x.safetensors', 'back.ckpt'):
        got = create_model(name, pretrained=str(tmp_path / path)).state_dict()
        assert all(torch.equal(got[key], value) for key, value in state.items())


@pytest.mark.parametrize('name', MICRO)
def test_the_backbone_of_a_detector(name):
    state = filled(name, features_only=True, out_norms=True)
    content = {'state_dict': {**module(state, 'backbone.'), 'neck.w': torch.ones(1), 'rpn_head.w': torch.ones(1)}}
    found = weights.unwrap(content)
    assert found.dropped == ['neck.w', 'rpn_head.w']
    assert identify(found) == [name]
    model = create_model(name, features_only=True, out_norms=True)
    assert load_weights(model, content, log=False).ok
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize('name', MICRO)
def test_half_precision_files_are_loaded_in_the_models_precision(name):
    state = {k: v.half() if v.is_floating_point() else v for k, v in filled(name).items()}
    model = create_model(name)
    load_weights(model, {'model': state}, log=False)
    for key, value in model.state_dict().items():
        if value.is_floating_point() and 'freqs' not in key:
            assert value.dtype == torch.float32
            assert torch.equal(value, state[key].float()), key


@pytest.mark.parametrize('name', MICRO)
def test_linear_layers_stored_as_convolutions(name):
    state = filled(name)
    linear = [key for key, value in state.items() if key.endswith('weight') and value.ndim == 2]
    model = create_model(name)
    load_weights(model, {**state, **{key: state[key][..., None, None] for key in linear}}, log=False)
    assert all(torch.equal(model.state_dict()[key], state[key]) for key in linear)


@pytest.mark.parametrize('name', MICRO)
def test_a_micro_variants_weights_are_refused_by_the_others(name, monkeypatch):
    state = meta_model(name).state_dict()
    fits = identify(state)
    assert fits == [name]
    monkeypatch.setattr(_loading, 'identify', lambda state: fits)  # asked once
    for other in MICRO:
        if other != name:
            with pytest.raises(
                weights.KeyMismatchError, match=f'does not fit {other}: it looks like {name}\n'
            ) as error:
                load_weights(meta_model(other), state, log=False)
            assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize('name', MICRO)
@pytest.mark.parametrize('change', ['missing', 'left over', 'wrong shape'])
def test_one_wrong_key_is_enough(name, change, monkeypatch):
    monkeypatch.setattr(_loading, 'identify', lambda state: [])  # what it looks like is tested above
    state = filled(name)
    key = [k for k in state if 'norm' not in k and k.endswith('.weight') and 'head' not in k][3]
    value = state.pop(key)
    if change == 'left over':
        state.update({key: value, 'surplus.weight': value})
    elif change == 'wrong shape':
        state[key] = value.new_zeros([value.shape[0] + 1, *value.shape[1:]])
    named = 'surplus.weight' if change == 'left over' else key
    with pytest.raises(weights.KeyMismatchError, match=f'does not fit {name}') as error:
        load_weights(create_model(name), state, log=False)
    assert named in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize('name', list_models())
def test_a_variant_refuses_all_others_weights(name, monkeypatch):
    state = meta_model(name).state_dict()
    fits = identify(state)
    assert name in fits
    monkeypatch.setattr(_loading, 'identify', lambda state: fits)
    for other in list_models():
        model = meta_model(other)
        if other in fits:  # the same parameters: stride-8 forms, other scan directions
            assert match_weights(model, state)[0].ok
        else:
            with pytest.raises(weights.KeyMismatchError, match=f'does not fit {other}: it looks like .*{name}'):
                load_weights(model, state, log=False)


@pytest.mark.slow
@pytest.mark.parametrize('checkpoint', weights.list_checkpoints(), ids=lambda c: c.name)
def test_registered_sizes_are_those_of_the_models(checkpoint):
    kwargs = {} if checkpoint.task == 'imagenet' else dict(features_only=True, out_norms=True)
    model = meta_model(checkpoint.model, **kwargs)
    assert checkpoint.num_params == sum(p.numel() for p in model.parameters())
    assert checkpoint.num_params == weights.Weights(model.state_dict()).num_params


def test_a_family_is_recognised_without_a_micro_variant(monkeypatch):
    state = meta_model('vil2_tiny', features_only=True).state_dict()
    for cls, family in FAMILIES.items():
        variants = {name: variant for name, variant in family.variants.items() if not name.startswith('test_')}
        monkeypatch.setitem(FAMILIES, cls, dataclasses.replace(family, variants=variants))
    assert identify(state) == ['vil2_tiny']
