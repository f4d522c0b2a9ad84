"""Only finite numbers of real types become weights; a model that cannot take any is told so."""

import pytest
import torch
from torch import nn

from mmvssm import weights
from mmvssm.backbones import create_model, load_weights

MICRO = 'test_efficientvmamba'  # it has counters: those of BatchNorm


@pytest.fixture(scope='module')
def state():
    torch.manual_seed(0)
    return create_model(MICRO, num_classes=3).state_dict()


def a_weight(state) -> str:
    return next(key for key in state if key.startswith('layers.1.') and key.endswith('weight') and state[key].ndim > 1)


def spoiled(value, kind):
    value = value.clone()
    if isinstance(kind, torch.dtype):
        return value.to(kind)
    value.view(-1)[-1] = kind
    return value


@pytest.mark.parametrize(
    ('kind', 'words'),
    [
        (float('nan'), 'holds NaN\\.'),
        (float('-inf'), 'holds infinity\\.'),
        (torch.int8, 'is int8'),
        (torch.complex64, 'is complex64'),
        (torch.bool, 'is bool'),
        (torch.float8_e4m3fn, 'is float8_e4m3fn'),
    ],
    ids=str,
)
def test_values_that_no_weight_has_are_refused_by_name(state, kind, words):
    key = a_weight(state)
    model = create_model(MICRO, num_classes=3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(weights.CheckpointError, match=f'^{key} {words}(.|\n)*Allowed: ') as error:
        load_weights(model, {**state, key: spoiled(state[key], kind)})
    assert len(str(error.value).splitlines()) == 2
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), 'half loaded'


def test_what_overflows_the_models_type_is_refused(state):
    key = a_weight(state)
    model = create_model(MICRO, num_classes=3).half()
    with pytest.raises(weights.CheckpointError, match='holds more than float16 can hold'):
        load_weights(model, {**state, key: spoiled(state[key], 1e6)})


def test_a_file_of_shapes_alone_is_refused(state):
    with pytest.raises(weights.CheckpointError, match='meta device'):
        load_weights(create_model(MICRO, num_classes=3), {k: v.to('meta') for k, v in state.items()})


@pytest.mark.parametrize('kind', [torch.int32, torch.float32, torch.float16, torch.uint8], ids=str)
def test_counters_may_be_of_any_type_that_holds_them(state, kind):
    counter = next(key for key in state if key.endswith('num_batches_tracked'))
    model = create_model(MICRO, num_classes=3)
    load_weights(model, {**state, counter: torch.tensor(7, dtype=kind)}, log=False)
    assert model.state_dict()[counter] == 7


def test_a_broken_counter_is_refused(state):
    counter = next(key for key in state if key.endswith('num_batches_tracked'))
    with pytest.raises(weights.CheckpointError, match=f'^{counter} is a counter, but holds 2.5'):
        load_weights(create_model(MICRO, num_classes=3), {**state, counter: torch.tensor(2.5)})


WRAPPERS = {
    'compiled': torch.compile,
    'averaged': torch.optim.swa_utils.AveragedModel,
    'data parallel': nn.DataParallel,
    'nested': lambda net: torch.optim.swa_utils.AveragedModel(nn.DataParallel(torch.compile(net))),
    'in a sequence': nn.Sequential,
}


@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_a_wrapped_model_is_loaded_inside(state, wrapper):
    net = WRAPPERS[wrapper](create_model(MICRO, num_classes=3))
    assert load_weights(net, {'state_dict': state}, log=False).ok
    for name, value in net.state_dict().items():
        name = weights.plain_name(name).removeprefix('0.')
        assert name == 'n_averaged' or torch.equal(value, state[name])


def test_blocks_that_are_wrapped_one_by_one(state):
    net = create_model(MICRO, num_classes=3)
    net.layers[1].blocks[0] = torch.compile(net.layers[1].blocks[0])
    assert load_weights(net, state, log=False).ok
    assert all(torch.equal(value, state[weights.plain_name(name)]) for name, value in net.state_dict().items())


@pytest.mark.parametrize('beside', ['head', 'twin'])
def test_a_model_of_more_than_the_backbone_is_no_wrapper(state, beside):
    net = nn.ModuleDict({'backbone': create_model(MICRO, num_classes=3)})
    net[beside] = nn.Linear(3, 3) if beside == 'head' else create_model(MICRO, num_classes=3)
    with pytest.raises(TypeError, match=r'no backbone of this project, wrapped or not, but holds . of them'):
        load_weights(net, state)
    with pytest.raises(TypeError, match='Linear is no backbone'):
        load_weights(nn.Linear(2, 2), state)


def test_a_model_without_values_is_refused_with_what_to_do(state):
    with torch.device('meta'):
        net = create_model(MICRO, num_classes=3)
    with pytest.raises(ValueError, match=r'meta device(.|\n)*to_empty'):
        load_weights(net, state)
    assert load_weights(net.to_empty(device='cpu'), state, log=False).ok
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_tables_of_a_model_that_had_no_values_are_made_anew():
    state = create_model('test_localvim').state_dict()
    with torch.device('meta'):
        net = create_model('test_localvim')
    load_weights(net.to_empty(device='cpu'), {k: v for k, v in state.items() if 'rope' not in k}, log=False)
    assert torch.equal(net.rope.freqs_cos, state['rope.freqs_cos'])


@pytest.mark.parametrize(('have', 'want'), [(1, 3), (3, 1), (3, 4), (1, 2), (4, 1), (6, 3), (2, 6), (4, 3)])
@pytest.mark.parametrize('name', ['test_vmamba', 'test_vim'])
def test_any_number_of_channels_into_any_other(name, have, want):
    """By timm's rule; where one divides the other, an image whose channels are equal gives the same."""
    source = create_model(name, in_chans=have, num_classes=3).eval()
    model = create_model(name, in_chans=want, num_classes=3).eval()
    load_weights(model, source.state_dict(), log=False)
    kernel = source.get_submodule(source.first_conv).weight
    got = model.get_submodule(model.first_conv).weight
    if want == 1:
        torch.testing.assert_close(got, kernel.sum(1, keepdim=True))
    else:
        order = [i % have for i in range(want)]
        torch.testing.assert_close(got, kernel[:, order] * have / want)
    if want == 1 or want % have == 0:
        gray = torch.rand(1, 1, 64, 64)
        with torch.no_grad():
            torch.testing.assert_close(model(gray.expand(-1, want, -1, -1)), source(gray.expand(-1, have, -1, -1)))
