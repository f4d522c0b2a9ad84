"""What is said of a load: which file, what was left out, what stays as it was."""

import logging

import pytest
import torch

import mmvssm
from mmvssm import weights

MICRO = 'test_vmamba'
FIRST = 'patch_embed.0.weight'
HEAD = 'classifier.head.weight, classifier.head.bias'


@pytest.fixture(scope='module')
def file(tmp_path_factory):
    """A file of a model for 10 classes."""
    path = tmp_path_factory.mktemp('files') / 'ten.pth'
    torch.save({'model': mmvssm.create_model(MICRO, num_classes=10).state_dict()}, path)
    return str(path)


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, 'mmvssm')
    return lambda level: [r.getMessage() for r in caplog.records if (r.name, r.levelno) == ('mmvssm', level)]


@pytest.mark.parametrize(('kwargs', 'classes'), [({}, 1000), (dict(num_classes=5), 5)], ids=['default', 'five'])
def test_a_classifier_that_stays_random_is_a_warning(file, said, kwargs, classes):
    mmvssm.create_model(MICRO, pretrained=file, **kwargs)
    (warning,) = said(logging.WARNING)
    assert warning == (
        f'{MICRO}: the classifier keeps its fresh values ({HEAD}): {file} has 10 classes, the model {classes}'
    )
    assert said(logging.INFO)[0].endswith(f'2 dropped ({HEAD}), 2 kept fresh ({HEAD})')


@pytest.mark.parametrize('kwargs', [dict(num_classes=10), dict(num_classes=0), dict(features_only=True)], ids=str)
def test_a_model_that_lacks_nothing_is_no_warning(file, said, kwargs):
    mmvssm.create_model(MICRO, pretrained=file, **kwargs)
    assert not said(logging.WARNING)
    assert ('dropped (classifier.' in said(logging.INFO)[0]) == (kwargs.get('num_classes') != 10)


def test_an_adapted_first_convolution_is_information(file, said):
    mmvssm.create_model(MICRO, pretrained=file, num_classes=10, in_chans=1)
    (line,) = said(logging.INFO)
    assert f'{FIRST} adapted from 8x3x3x3 to 8x1x3x3' in line


def test_what_a_detectors_file_has_besides_is_counted(file, said):
    state = {f'backbone.{k}': v for k, v in weights.unwrap(weights.read_checkpoint(file)).items()}
    report = mmvssm.load_weights(mmvssm.create_model(MICRO, num_classes=10), {**state, 'neck.w': torch.ones(1)})
    assert report.dropped == ['neck.w']
    assert said(logging.INFO)[0].endswith('1 dropped (neck.w)')


@pytest.mark.parametrize('form', ['path', 'url'])
@pytest.mark.parametrize(
    ('change', 'says'),
    [
        (lambda state: {**state, FIRST: state[FIRST] * float('nan')}, f'{FIRST} holds NaN'),
        (lambda state: {'epoch': 3}, 'the checkpoint holds no weights'),
        (lambda state: {**state, 'extra.weight': torch.ones(2)}, f'the checkpoint does not fit {MICRO}'),
        (lambda state: {**state, f'module.{FIRST}': state[FIRST]}, 'the checkpoint holds .* twice'),
    ],
    ids=['NaN', 'no weights', 'another model', 'twice'],
)
def test_errors_name_the_file_once(file, tmp_path, form, change, says):
    path = tmp_path / 'bad.pth'
    torch.save(change(weights.unwrap(weights.read_checkpoint(file))), path)
    source = f'file://{path}' if form == 'url' else str(path)
    with pytest.raises(weights.CheckpointError, match=f'^{source}: {says}') as error:
        mmvssm.load_weights(mmvssm.create_model(MICRO, num_classes=10), source)
    assert str(error.value).count('bad.pth') == 1
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    ('change', 'named'),
    [(dict(extra=torch.ones(2)), 'extra'), ({FIRST: torch.ones(8, 3, 5, 5)}, FIRST)],
    ids=['left over', 'wrong shape'],
)
def test_a_file_that_nearly_fits_is_told_by_the_keys(file, change, named):
    state = {**weights.unwrap(weights.read_checkpoint(file)), **change}
    for model in (mmvssm.create_model(MICRO), mmvssm.create_model('test_efficientvmamba')):
        with pytest.raises(weights.KeyMismatchError, match=f': it is {MICRO} but for {named}\n'):
            mmvssm.load_weights(model, state)


@pytest.mark.parametrize('value', [3, 0, 1.5, ['x.pth']], ids=str)
def test_a_source_of_another_type_is_an_error(value):
    with pytest.raises(TypeError, match=r'pretrained=.* must be a bool, a .*path, URL or published name, or a state'):
        mmvssm.create_model(MICRO, pretrained=value)
    with pytest.raises(TypeError, match='source='):
        mmvssm.load_weights(mmvssm.create_model(MICRO), value)


def test_a_name_that_is_no_text_is_an_error():
    with pytest.raises(TypeError, match=r'name=None must be a str, one of mmvssm\.list_models'):
        mmvssm.create_model(None)


def test_a_wrong_tag_is_answered_with_the_variants_tags():
    tags = [c.name for c in weights.PUBLISHED.values() if c.model == 'vil2_tiny']
    with pytest.raises(ValueError, match=r"unknown model 'vil2_tiny\.foo'") as error:
        mmvssm.create_model('vil2_tiny.foo')
    assert str(error.value).endswith(', '.join(tags))
    with pytest.raises(ValueError, match=f'of {MICRO} are published: none'):
        mmvssm.create_model(f'{MICRO}.foo')


@pytest.mark.parametrize('stages', ['2', 1.0, True, None], ids=repr)
def test_frozen_stages_are_an_int(stages):
    with pytest.raises(ValueError, match=r'frozen_stages=.* is not supported; allowed: -1 to '):
        mmvssm.create_model(MICRO).freeze(stages)
