"""The weights in a checkpoint's wrappers."""

import pytest
import torch

from mmvssm import weights

PLAIN = {'patch_embed.0.weight': torch.ones(2, 3), 'norm.bias': torch.ones(2)}
AVERAGED = {name: value * 2 for name, value in PLAIN.items()}
UNKNOWN = {'a.w': torch.ones(2), 'b.w': torch.ones(2)}
OPTIMIZER = {'state': {0: {'exp_avg': torch.zeros(3), 'step': torch.tensor(1.0)}}, 'param_groups': [{'lr': 0.1}]}


def add(prefix, state):
    return {prefix + name: value for name, value in state.items()}


WRAPPED = {
    'bare': (PLAIN, PLAIN),
    'one tensor': ({'w': torch.ones(2)}, {'w': torch.ones(2)}),
    'state_dict': ({'state_dict': PLAIN, 'epoch': 3}, PLAIN),
    'model': ({'model': PLAIN, 'optimizer': OPTIMIZER}, PLAIN),
    'model within state_dict': ({'model': {'state_dict': PLAIN}}, PLAIN),
    'ddp': ({'state_dict': add('module.', PLAIN)}, PLAIN),
    'ema of ddp': ({'state_dict': add('module.module.', PLAIN)}, PLAIN),
    'averaged model': ({**add('module.', PLAIN), 'n_averaged': torch.tensor(4)}, PLAIN),
    'compiled ddp': (add('module._orig_mod.', PLAIN), PLAIN),
    'activation checkpointing': ({'a._checkpoint_wrapped_module.w': torch.ones(2)}, {'a.w': torch.ones(2)}),
    'vmamba release': ({'model': AVERAGED, 'epoch': 1}, AVERAGED),
    'vmamba training': ({'model': PLAIN, 'model_ema': AVERAGED, 'config': None, 'max_accuracy': 1.0}, AVERAGED),
    'vim training': ({'model': PLAIN, 'model_ema': AVERAGED, 'args': None}, PLAIN),
    'localmamba training': ({'model': PLAIN, 'ema_model': add('module.module.', AVERAGED), 'scaler': {}}, AVERAGED),
    'timm training': ({'state_dict': PLAIN, 'state_dict_ema': AVERAGED}, AVERAGED),
    'mmengine ema': (
        {'state_dict': AVERAGED, 'ema_state_dict': {**add('module.', PLAIN), 'steps': torch.tensor(1)}},
        AVERAGED,
    ),
    'vil': ({'state_dict': PLAIN, 'ctor_kwargs': {'dim': 192}, 'ckpt': 'x', 'stage_id': 'y'}, PLAIN),
    'lightning': ({'state_dict': {**add('model.', PLAIN), 'loss.w': torch.ones(3)}, 'hyper_parameters': {}}, PLAIN),
    'mmdet': ({'state_dict': {**add('backbone.', PLAIN), 'neck.w': torch.ones(3), 'head.w': torch.ones(3)}}, PLAIN),
    'mmdet ddp': ({'state_dict': {**add('module.backbone.', PLAIN), 'module.neck.w': torch.ones(3)}}, PLAIN),
    'detectron2': (
        {
            'model': {
                **add('backbone.net.', PLAIN),
                'backbone.simfp_2.0.weight': torch.ones(3),
                'roi_heads.w': torch.ones(1),
            }
        },
        PLAIN,
    ),
    'framework': ({'state_dict': add('timm_model.', PLAIN)}, PLAIN),
    'frameworks in frameworks': (add('learner.base_model.module.model.', PLAIN), PLAIN),
    'student of a detector': ({**add('student.backbone.', PLAIN), 'student.neck.w': torch.ones(3)}, PLAIN),
    'teacher of another kind': ({**add('student.', PLAIN), 'teacher.conv1.weight': torch.ones(3)}, PLAIN),
    'average beside': ({**add('model.', PLAIN), **add('model_ema.module.', AVERAGED)}, AVERAGED),
    'no patch embedding': (
        add('net.encoder.', {'a.w': torch.ones(2), 'b.w': torch.ones(2)}),
        {'a.w': torch.ones(2), 'b.w': torch.ones(2)},
    ),
    'parameters': ({'model': {name: torch.nn.Parameter(value) for name, value in PLAIN.items()}}, PLAIN),
}


@pytest.mark.parametrize('case', WRAPPED)
def test_weights_are_found(case):
    content, want = WRAPPED[case]
    got = weights.unwrap(content)
    assert list(got) == list(want)
    assert all(torch.equal(got[name], value) and not got[name].requires_grad for name, value in want.items())


def test_an_average_beside_the_model_on_demand():
    content = {**add('model.', PLAIN), **add('ema.', AVERAGED)}
    assert torch.equal(weights.unwrap(content, prefer_ema=False)['norm.bias'], PLAIN['norm.bias'])
    assert weights.unwrap(content).dropped == ['model.patch_embed.0.weight', 'model.norm.bias']
    bare = {**PLAIN, **add('ema.', AVERAGED)}
    assert list(weights.unwrap(bare, prefer_ema=False)) == list(PLAIN)
    assert torch.equal(weights.unwrap(bare)['norm.bias'], AVERAGED['norm.bias'])


def test_two_models_in_one_file_are_an_error_that_names_them():
    with pytest.raises(weights.CheckpointError, match=r"2 backbones, under 'student\.' and 'teacher\.'") as error:
        weights.unwrap({'state_dict': {**add('student.', PLAIN), **add('teacher.', AVERAGED)}})
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize('prefix', ['', 'model.', 'module.student.'])
@pytest.mark.parametrize('part', ['backbone.', 'img_backbone.', 'encoder.', 'backbone.net.'])
def test_the_whole_of_a_detector(prefix, part):
    state = {**add(part, PLAIN), 'neck.w': torch.ones(3)}
    content = {'model': {**add(prefix, state), **add('' if not prefix else 'loss.', {'x': torch.ones(1)})}}
    got = weights.unwrap(content, whole=True)
    assert list(got) == list(state) + ([] if prefix else ['x'])


def test_the_rest_of_a_detector_is_counted_as_dropped():
    got = weights.unwrap(WRAPPED['detectron2'][0])
    assert got.dropped == ['backbone.simfp_2.0.weight', 'roi_heads.w']
    assert (got.wrapper, got.prefix) == ('model', 'backbone.net.')


def test_entries_that_are_no_tensors_are_dropped():
    got = weights.unwrap({'state_dict': {**PLAIN, 'version': 3, 'name': 'x', 'none': None, 5: torch.ones(1)}})
    assert list(got) == list(PLAIN)
    assert got.dropped == ['version', 'name', 'none', '5']


@pytest.mark.parametrize(
    'case', ['vmamba training', 'vim training', 'localmamba training', 'timm training', 'mmengine ema']
)
def test_averaged_weights_on_demand(case):
    content = WRAPPED[case][0]
    assert torch.equal(weights.unwrap(content, prefer_ema=True)['norm.bias'], AVERAGED['norm.bias'])
    assert torch.equal(weights.unwrap(content, prefer_ema=False)['norm.bias'], PLAIN['norm.bias'])


def test_averaged_weights_that_are_not_there():
    with pytest.raises(weights.CheckpointError, match='no averaged'):
        weights.unwrap({'model': PLAIN}, prefer_ema=True)
    with pytest.raises(weights.CheckpointError, match="'auto', True or False"):
        weights.unwrap(PLAIN, prefer_ema='yes')


@pytest.mark.parametrize(
    'content', [{}, {'epoch': 3}, {'optimizer': OPTIMIZER}, {'state_dict': {}}, {'state_dict': None}], ids=str
)
def test_no_weights(content):
    with pytest.raises(weights.NotACheckpointError, match='holds no weights') as error:
        weights.unwrap(content)
    assert len(str(error.value).splitlines()) == 2


def test_a_name_with_and_without_its_prefix():
    with pytest.raises(weights.CheckpointError, match='twice, with and without a prefix'):
        weights.unwrap({**PLAIN, **add('module.', PLAIN)})
