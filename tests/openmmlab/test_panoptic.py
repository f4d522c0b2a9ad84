"""The stand-in for panopticapi: colours, and panoptic quality by its definition."""

import importlib.util

import numpy as np
import pytest

from mmvssm.openmmlab import panoptic
from mmvssm.openmmlab.panoptic import PQStat, id2rgb, rgb2id

CATEGORIES = {1: dict(isthing=1), 2: dict(isthing=1), 7: dict(isthing=0)}


@pytest.fixture
def counts():
    """Of 1: two of three found, IoU 0.8 and 0.6, and one false; of 2: nothing; of 7: all, IoU 0.9."""
    made = PQStat()
    made[1].tp, made[1].iou, made[1].fp, made[1].fn = 2, 1.4, 1, 1
    made[7].tp, made[7].iou = 1, 0.9
    return made


def test_numbers_and_colours_are_inverse():
    numbers = np.array([[0, 255, 256], [65_536, 70_000, (1 << 24) - 1]])
    assert id2rgb(numbers)[1, 1].tolist() == [112, 17, 1]
    assert (rgb2id(id2rgb(numbers)) == numbers).all()
    assert rgb2id([1, 1, 0]) == 257


def test_quality_is_its_definition(counts):
    mean, each = counts.pq_average(CATEGORIES, isthing=None)
    assert each[1] == pytest.approx(dict(pq=1.4 / 3, sq=0.7, rq=2 / 3))
    assert each[2] == dict(pq=0.0, sq=0.0, rq=0.0)
    assert mean == pytest.approx(dict(pq=(1.4 / 3 + 0.9) / 2, sq=0.8, rq=(2 / 3 + 1) / 2, n=2))


def test_things_and_stuff_are_told_apart(counts):
    assert counts.pq_average(CATEGORIES, isthing=True)[0]['pq'] == pytest.approx(1.4 / 3)
    assert counts.pq_average(CATEGORIES, isthing=False)[0] == pytest.approx(dict(pq=0.9, sq=0.9, rq=1.0, n=1))


def test_counts_of_processes_are_added(counts):
    total = PQStat()
    for _ in range(2):
        total += counts
    assert (total[1].tp, total[1].fn, total[1].iou) == (4, 2, 2.8)


def test_nothing_at_all_has_no_quality():
    assert PQStat().pq_average(CATEGORIES, isthing=None)[0] == dict(pq=0.0, sq=0.0, rq=0.0, n=0)


@pytest.mark.skipif(not panoptic.install(), reason='panopticapi itself is installed')
def test_mmdet_finds_it():
    utils = importlib.import_module('mmdet.evaluation.functional.panoptic_utils')
    assert utils.PQStat is PQStat
    assert importlib.util.find_spec('panopticapi') is not None
