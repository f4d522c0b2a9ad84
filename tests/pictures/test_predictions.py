"""Predictions on images: what is painted where."""

import numpy as np
import pytest

from mmvssm.pictures import Instances, paint_classes, paint_found

BLACK = np.zeros((600, 500, 3), np.uint8)


def instances(masks=True, scores=True):
    boxes = np.array([[50, 100, 250, 300], [300, 350, 480, 590]], float)
    mask = np.zeros((2, 600, 500), bool)
    mask[0, 100:300, 50:250] = mask[1, 350:590, 300:480] = True
    return Instances(boxes, np.array([1, 0]), mask if masks else None, np.array([0.9, 0.5]) if scores else None)


@pytest.mark.parametrize('masks', [True, False], ids=['masks', 'boxes'])
@pytest.mark.parametrize('scores', [True, False], ids=['scores', 'no scores'])
def test_boxes_have_their_class_s_colour(masks, scores):
    page = np.asarray(
        paint_found(BLACK, instances(masks, scores), ['a', 'b'], [(255, 0, 0), (0, 255, 0)], legend=False)
    )
    assert page.shape == BLACK.shape
    assert page[200, 50].tolist() == [0, 255, 0]
    assert page[450, 300].tolist() == [255, 0, 0]
    inside = [0, 0.4 * 255, 0] if masks else [0, 0, 0]
    assert page[200, 150].tolist() == pytest.approx(inside, abs=1)
    assert page[20, 20].tolist() == [0, 0, 0]


def test_objects_of_the_only_class_have_colours_of_their_own():
    one = Instances(instances().boxes, np.array([0, 0]), None, np.array([0.9, 0.5]))
    page = np.asarray(paint_found(BLACK, one, ['nucleus'], [(255, 0, 0)], legend=False))
    assert page[200, 50].tolist() != page[450, 300].tolist()


def test_small_images_are_enlarged_by_a_whole_number():
    found = Instances(np.array([[2.0, 3.0, 8.0, 9.0]]), np.array([0]), np.ones((1, 11, 13), bool), np.array([1.0]))
    page = paint_found(np.zeros((11, 13, 3), np.uint8), found, ['a', 'b'], legend=False)
    assert page.size == (13 * 37, 11 * 37)


def test_legend_is_white_below_the_image():
    page = np.asarray(paint_found(BLACK, instances(), ['a', 'b']))
    assert page.shape[0] > 600
    assert page[-1].min() == 255


def test_nothing_found_is_said():
    empty = Instances(np.zeros((0, 4)), np.zeros(0, int), np.zeros((0, 600, 500), bool), np.zeros(0))
    page = np.asarray(paint_found(BLACK, empty, ['a', 'b']))
    assert page[:600].max() == 0
    assert (page[600:] == 0).any(), 'no words in the legend'


def test_classes_tint_their_pixels_and_the_rest_stays():
    labels = np.full((600, 500), 255, np.uint8)
    labels[:, :250] = 1
    page = np.asarray(paint_classes(BLACK + 100, labels, ['a', 'b'], [(0, 0, 0), (200, 0, 0)], legend=False))
    assert page[10, 10].tolist() == [150, 50, 50]
    assert page[10, 400].tolist() == [100, 100, 100]
    assert page[10, 250].tolist() == [255, 255, 255], 'the border'
