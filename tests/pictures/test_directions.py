"""Pictures of what a search found."""

import pytest

from mmvssm import directions, scans
from mmvssm.backbones.localvmamba import TINY_DIRECTIONS
from mmvssm.directions import Directions, LayerDirections, from_lists
from mmvssm.pictures import draw_choices, draw_paths

pytest.importorskip('matplotlib')
FOUND = Directions(
    (
        LayerDirections(('h', 'v', 'w2'), (0.2, 0.5, 0.3), ('v', 'w2')),
        LayerDirections(('h', 'v', 'w2'), (0.6, 0.1, 0.3), ('h', 'w2')),
    ),
    dict(model='LocalVMamba', data='nuclei', iteration=7),
)


def dots(figure) -> list[list[int]]:
    """Rows of the kept candidates in each column."""
    return [sorted(map(int, line.get_ydata())) for line in figure.axes[0].lines]


def test_a_heat_map_shows_shares_and_what_is_kept():
    figure = draw_choices(FOUND)
    (image,) = figure.axes[0].images
    assert image.get_array().tolist() == [[0.2, 0.6], [0.5, 0.1], [0.3, 0.3]]
    assert dots(figure) == [[1, 2], [0, 2]]
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ['h', 'v', 'w2']
    assert figure.get_suptitle() == 'LocalVMamba on nuclei after 7 iterations'


def test_the_published_lists_are_drawn_as_published():
    figure = draw_choices(from_lists(TINY_DIRECTIONS, scans.LOCAL_SCAN))
    assert dots(figure) == [[scans.LOCAL_SCAN.index(name) for name in own] for own in TINY_DIRECTIONS]


def test_layers_without_a_candidate_are_left_white():
    other = LayerDirections(('w7',), (1.0,), ('w7',))
    figure = draw_choices(directions.Directions((FOUND.layers[0], other)))
    assert figure.axes[0].images[0].get_array().mask.tolist() == [[False, True]] * 3 + [[True, False]]


def test_every_layers_paths_are_drawn():
    titles = [axis.get_title() for axis in draw_paths(FOUND, (6, 8)).axes if axis.get_title()]
    assert titles == ['layer 0: v', 'layer 0: w2', 'layer 1: h', 'layer 1: w2']
