"""The file that a search leaves: written, read, taken by backbones; a wrong one is an error that names the layer."""

import json

import pytest
import torch

from mmvssm import create_model, directions
from mmvssm.directions import Directions, LayerDirections

LISTS = [['h', 'v', 'w2', 'w7'], ['h_flip', 'v_flip', 'w2', 'w7_flip'], ['h', 'v', 'w2', 'w7'], ['h', 'v'], ['w7']]
CANDIDATES = ('h', 'h_flip', 'v', 'v_flip', 'w2', 'w2_flip', 'w7', 'w7_flip')


def of(lists):
    return Directions(tuple(LayerDirections(CANDIDATES, (0.125,) * 8, tuple(own)) for own in lists), dict(k=4))


def test_written_and_read_it_is_the_same(tmp_path):
    directions.write(tmp_path / 'directions.json', of(LISTS))
    assert directions.read(tmp_path / 'directions.json') == of(LISTS)


@pytest.mark.parametrize('form', [str, lambda path: path], ids=['text', 'path'])
def test_a_backbone_takes_the_path_in_place_of_the_lists(tmp_path, form):
    directions.write(tmp_path / 'directions.json', of(LISTS))
    model = create_model('test_localvmamba', directions=form(tmp_path / 'directions.json'))
    assert [list(block.op.directions) for stage in model.layers for block in stage.blocks] == LISTS
    assert model(torch.randn(1, 3, 32, 40)).isfinite().all()


@pytest.mark.parametrize(
    ('name', 'lists'),
    [('test_vmamba', [['v', 'h', 'w2', 'w3_flip']] * 5), ('test_vim', [['v', 'v_flip']] * 4)],
)
def test_so_do_families_with_a_fixed_number_of_orders(tmp_path, name, lists):
    number = len([m for m in create_model(name).modules() if hasattr(m, 'scan_orders')])
    path = tmp_path / 'x.json'
    layers = tuple(LayerDirections(tuple(own), (1 / len(own),) * len(own), tuple(own)) for own in lists[:1] * number)
    directions.write(path, Directions(layers))
    assert create_model(name, scan_orders=str(path))(torch.randn(1, 3, 32, 32)).isfinite().all()
    with pytest.raises(ValueError, match=r'scan_orders\[0\].* must be a list of \d scan orders'):
        create_model(name, scan_orders=written(tmp_path, [dict(ENTRY, chosen=['h'])] * number))


ENTRY = dict(candidates=['h', 'v'], probabilities=[0.5, 0.5], chosen=['h', 'v'])


def written(folder, layers, **head):
    content = dict(dict(kind=directions.KIND, version=1, layers=layers), **head)
    (folder / 'wrong.json').write_text(json.dumps(content))
    return str(folder / 'wrong.json')


WRONG = {
    'another kind': (lambda f: written(f, [ENTRY], kind='else'), 'is no list of scan directions'),
    'another version': (lambda f: written(f, [ENTRY], version=2), 'has version 2; allowed: 1'),
    'no layers': (lambda f: written(f, []), "has no 'layers'"),
    'chosen twice': (
        lambda f: written(f, [ENTRY, dict(ENTRY, chosen=['h', 'h'])]),
        "layer 1: 'h' is there twice in 'chosen'; allowed: each name once",
    ),
    'layers of another model': (
        lambda f: written(f, [ENTRY] * 3, model='vim_tiny'),
        r'wrong\.json\', of vim_tiny, has 3 layers, the model 5',
    ),
    'no candidates': (
        lambda f: written(f, [ENTRY, dict(ENTRY, candidates=[])]),
        "layer 1: 'candidates' must be a list",
    ),
    'numbers': (lambda f: written(f, [dict(ENTRY, chosen=[1])]), "layer 0: 'chosen' must hold names alone"),
    'no entry': (lambda f: written(f, [ENTRY, ENTRY, 'h']), "layer 2: 'candidates' must be a list"),
    'not a candidate': (
        lambda f: written(f, [dict(ENTRY, chosen=['w2'])]),
        "layer 0: 'w2' in 'chosen' is none of the candidates",
    ),
    'too few shares': (lambda f: written(f, [dict(ENTRY, probabilities=[1])]), "layer 0: 'probabilities' must be"),
    'unknown order': (
        lambda f: written(f, [ENTRY] * 4 + [dict(ENTRY, candidates=['x'], probabilities=[1], chosen=['x'])]),
        r"directions\[4\]\[0\]: scan order 'x' is unknown",
    ),
    'number of layers': (lambda f: written(f, [ENTRY] * 3), r"wrong\.json' has 3 layers, the model 5"),
    'no such file': (lambda f: str(f / 'none.json'), 'cannot be read: No such file'),
    'no json': (lambda f: text(f, '{'), 'no JSON'),
    'a list': (lambda f: text(f, '[]'), 'is no list of scan directions'),
}


def text(folder, content):
    (folder / 'wrong.json').write_text(content)
    return str(folder / 'wrong.json')


@pytest.mark.parametrize('case', WRONG)
def test_a_wrong_file_is_an_error_that_names_field_and_layer(tmp_path, case):
    make, says = WRONG[case]
    with pytest.raises(ValueError, match=says) as error:
        create_model('test_localvmamba', directions=make(tmp_path))
    assert str(error.value).startswith('directions')
