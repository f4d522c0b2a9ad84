"""Names and shapes sorted against a model's."""

import pytest
import torch

from mmvssm import weights

MODEL = {'stem.weight': (4, 3), 'head.weight': (10, 4), 'outnorm0.weight': (4,), 'conv.weight': (4, 4, 1, 1)}


def sort(got, **kwargs):
    return weights.sort_keys(MODEL, got, droppable=('head.',), optional=('outnorm', 'head.*'), **kwargs)


def test_all_loaded():
    report = sort(MODEL)
    assert report.ok
    assert not report.wrong
    assert report.loaded == list(MODEL)
    assert report.summary() == '4 loaded'


def test_each_kind_of_key():
    report = sort({'stem.weight': (4, 5), 'head.weight': (21841, 4), 'head.bias': (2,), 'neck.weight': (1,)})
    assert report.mismatched == [('stem.weight', (4, 3), (4, 5))]
    assert report.missing == ['conv.weight']
    assert report.expected_missing == ['head.weight', 'outnorm0.weight']
    assert report.dropped == ['head.weight', 'head.bias']
    assert report.unexpected == ['neck.weight']
    for word in ('conv.weight', 'neck.weight', 'stem.weight: 4x5 instead of 4x3'):
        assert word in report.wrong
    assert '\n' not in report.wrong
    assert 'left out, as expected' in str(report)
    with pytest.raises(weights.KeyMismatchError, match='does not fit') as error:
        report.raise_if_wrong('x.pth', hint='It looks like another.')
    assert error.value.report is report
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(('want', 'have'), [((4, 3), (4, 3, 1, 1)), ((4, 3, 1, 1), (4, 3)), ((4, 3), (4, 3))], ids=str)
def test_linear_layers_as_1x1_convolutions(want, have):
    assert weights.sort_keys({'w': want}, {'w': have}).ok
    assert weights.fit(torch.ones(have), want).shape == want


@pytest.mark.parametrize(
    ('want', 'have'), [((4,), (4, 1, 1)), ((4, 3), (3, 4)), ((4, 3), (4, 3, 1)), ((4, 1, 1, 1), (4,))], ids=str
)
def test_other_shapes_do_not_fit(want, have):
    assert not weights.sort_keys({'w': want}, {'w': have}).ok
    with pytest.raises(ValueError, match='does not fit'):
        weights.fit(torch.ones(have), want)


def test_a_part_of_a_larger_model_is_reported_under_its_place():
    inside = weights.sort_keys({'w': (2,), 'b': (2,)}, {'w': (2,), 'b': (3,)})
    joined = inside.joined('backbone.', weights.sort_keys({'head.w': (1,)}, {}))
    assert (joined.loaded, joined.missing) == (['backbone.w'], ['head.w'])
    assert joined.mismatched == [('backbone.b', (2,), (3,))]


def test_excused_names_are_no_longer_wrong():
    report = weights.sort_keys({'a': (1,), 'b': (1,), 'c': (1,)}, {'b': (2,), 'c': (1,), 'd': (1,)})
    assert report.wrong_names == ['a', 'd', 'b']
    assert report.excusing(['a', 'b']).wrong_names == ['d']
    assert report.excusing(report.wrong_names).ok
    assert report.wrong_names == ['a', 'd', 'b'], 'the report itself was changed'
