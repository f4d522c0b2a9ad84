"""Problems whose best scan direction is known: the search finds it, and the searched model is better for it."""

import pytest
import torch

from benchmarks import search as benchmark
from mmvssm import search
from mmvssm.demo import planted

ITERATIONS = 160


@pytest.mark.parametrize('order', benchmark.ORDERS)
def test_the_target_is_the_last_cue_along_the_order(order):
    images, targets = planted.sample(order, 2, seed=3)
    path = benchmark.scans.table(order, planted.SIDE, planted.SIDE)
    for image, target in zip(images, targets):
        value, is_cue = image[0].flatten(), image[1].flatten()
        last = torch.nan
        for token in path[path >= 0].tolist():
            last = float(value[token] > 0) if is_cue[token] else last
            assert target.flatten()[token].item() == pytest.approx(last, nan_ok=True)


def test_other_seeds_are_other_images():
    one, other = (planted.sample('v', 1, seed)[0] for seed in (0, 1))
    assert not torch.equal(one, other)
    assert torch.equal(one, planted.sample('v', 1, 0)[0])


def test_the_search_finds_the_planted_direction_and_its_model_is_better():
    layer = benchmark.found('v', 0, ITERATIONS)
    assert benchmark.first(layer) == 'v'
    scores = [
        benchmark.accuracy(benchmark.train('v', [own], 0, ITERATIONS), 'v')
        for own in (list(search.choose(layer, 4)), benchmark.UNSEARCHED['v'])
    ]
    assert scores[0] > 0.95
    assert scores[1] < 0.9


@pytest.mark.slow
@pytest.mark.parametrize('order', benchmark.ORDERS)
def test_in_nine_of_ten_seeds(order):
    layers = [benchmark.found(order, seed, ITERATIONS) for seed in range(10)]
    assert sum(benchmark.first(layer) == order for layer in layers) >= 9
    searched = benchmark.train(order, [list(search.choose(layers[0], 4))], 0, ITERATIONS)
    unsearched = benchmark.train(order, [benchmark.UNSEARCHED[order]], 0, ITERATIONS)
    assert benchmark.accuracy(searched, order) > benchmark.accuracy(unsearched, order) + 0.05
