"""What layers would keep, read from models and from checkpoints, the authors' included."""

import pytest
import torch

from mmvssm import create_model, scans, search, weights
from mmvssm.errors import UsageError
from mmvssm.search import LayerChoice

LAYER = LayerChoice('layers.0', ('h', 'v', 'w2', 'w7'), (0.1, 0.4, 0.2, 0.3))


@pytest.mark.parametrize(
    ('k', 'forced', 'kept'),
    [(1, (), 'v'), (2, (), 'v w7'), (3, ('h',), 'h v w7'), (4, (), 'h v w2 w7'), (2, ('w2', 'h', 'h'), 'h w2')],
)
def test_the_most_probable_are_kept_in_the_order_of_the_candidates(k, forced, kept):
    assert search.choose(LAYER, k, forced) == tuple(kept.split())


@pytest.mark.parametrize(
    ('k', 'forced', 'says'),
    [
        (5, (), '--k 5: allowed: 1 to 4'),
        (0, (), '--k 0: allowed: 1 to 4'),
        (1, ('h', 'v'), r'--k 1: allowed: 2 to 4 \(2 are forced\)'),
        (2, ('x',), '--force x: no candidate; allowed: h, v, w2, w7'),
    ],
)
def test_what_cannot_be_kept_is_an_error(k, forced, says):
    with pytest.raises(UsageError, match=says):
        search.choose(LAYER, k, forced)


def test_entropy_is_between_0_and_1():
    assert LayerChoice('', ('h', 'v'), (0.5, 0.5)).entropy == pytest.approx(1)
    assert LayerChoice('', ('h', 'v'), (1.0, 0.0)).entropy == 0
    assert LayerChoice('', ('h',), (1.0,)).entropy == 0


@pytest.fixture(scope='module')
def state():
    """A supernet's weights, with logits that are known."""
    model = create_model('test_localvmamba', directions=None)
    state = model.state_dict()
    for i, name in enumerate(name for name in state if name.endswith(search.KEY)):
        state[name] = torch.arange(8.0).roll(i).view(8, 1, 1, 1)
    return state


KEPT = [scans.LOCAL_SCAN[4:], ('h', 'w2_flip', 'w7', 'w7_flip'), ('h', 'h_flip', 'w7', 'w7_flip')]
AROUND = {
    'bare': lambda state: state,
    'released': lambda state: {'state_dict': state},
    "the authors' trainer": lambda state: {'model': state, 'epoch': 99, 'optimizer': {}},
    'a detector': lambda state: {'state_dict': {f'backbone.{name}': value for name, value in state.items()}},
    'distributed': lambda state: {'model': {f'module.{name}': value for name, value in state.items()}},
}


@pytest.mark.parametrize('form', AROUND)
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_any_checkpoint_tells_its_choice(state, form, suffix, tmp_path):
    torch.save(AROUND[form](state), tmp_path / 'x.pth')
    if suffix == '.safetensors':
        weights.convert(tmp_path / 'x.pth', tmp_path / 'x.safetensors')
    layers = search.choices_in(weights.unwrap(weights.read_checkpoint(tmp_path / f'x{suffix}')))
    assert [search.choose(layer, 4) for layer in layers[:3]] == KEPT
    assert layers[0].probabilities == pytest.approx(torch.arange(8.0).softmax(0).tolist())


def test_the_averaged_weights_on_demand(state, tmp_path):
    plain = {name: -value if name.endswith(search.KEY) else value for name, value in state.items()}
    averaged = {f'module.module.{name}': value for name, value in state.items()}
    torch.save({'model': plain, 'ema_model': averaged}, tmp_path / 'x.pth')
    content = weights.read_checkpoint(tmp_path / 'x.pth')
    kept = [search.choose(search.choices_in(weights.unwrap(content, ema))[0], 4) for ema in (True, False)]
    assert kept == [scans.LOCAL_SCAN[4:], scans.LOCAL_SCAN[:4]]


def test_layers_come_in_the_order_of_their_numbers():
    state = {f'layers.{i}.mixer.{search.KEY}': torch.zeros(8, 1, 1, 1) for i in (10, 2, 0, 1)}
    assert [layer.name.split('.')[1] for layer in search.choices_in(state)] == ['0', '1', '2', '10']


@pytest.mark.parametrize(
    ('state', 'says'),
    [
        ({'a': torch.ones(1)}, 'no layer of it searches'),
        ({f'x.{search.KEY}': torch.ones(5, 1, 1, 1)}, 'has 5 logits, there are 8 candidates .*--candidates'),
    ],
    ids=['no logits', 'other candidates'],
)
def test_a_checkpoint_without_a_choice_is_an_error(state, says):
    with pytest.raises(UsageError, match=says):
        search.choices_in(state)


def test_a_models_choice_names_functions_by_their_dotted_names():
    model = create_model('test_vmamba', candidates=['h', scans.columns])
    assert search.choices_of(model)[0].candidates == ('h', 'mmvssm.scans.columns')


@pytest.mark.parametrize(
    ('name', 'k', 'says'),
    [
        ('EfficientVMamba', None, 'allowed: LocalVMamba, LocalVim, VMamba, Vim'),
        ('Vim', 4, '--k 4: a layer of Vim has 2 scan directions; allowed: 2'),
        ('VMamba', 2, 'allowed: 4'),
        ('Nothing', None, 'Nothing has no scan directions'),
    ],
)
def test_what_cannot_be_searched_is_an_error(name, k, says):
    with pytest.raises(UsageError, match=says):
        search.searchable(name, k)


@pytest.mark.parametrize(('name', 'k', 'kept'), [('LocalVim', None, 4), ('LocalVMamba', 2, 2), ('Vim', None, 2)])
def test_how_many_a_layer_keeps(name, k, kept):
    assert search.searchable(name, k).k == kept
