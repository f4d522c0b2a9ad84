import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmvssm.demo.polygons import polygons


def rasterise(found, shape):
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(found, *shape))).astype(bool)


def disc(size, radius):
    rows, cols = np.mgrid[:size, :size] - size / 2 + 0.5
    return np.hypot(rows, cols) < radius


BITMAPS = {
    'one pixel': np.pad(np.ones((1, 1), bool), 3),
    'whole image': np.ones((5, 8), bool),
    'disc': disc(33, 12),
    'ring': disc(33, 14) & ~disc(33, 6),
    'two rings': np.tile(disc(21, 9) & ~disc(21, 4), (1, 2)),
    'corner contact': np.kron(np.eye(2), np.ones((3, 3))).astype(bool),
    'holes that touch': ~np.pad(np.kron(np.eye(2), np.ones((2, 2))).astype(bool), 2),
    'noise': np.random.default_rng(0).random((19, 23)) < 0.55,
}


@pytest.mark.parametrize('name', BITMAPS)
def test_polygons_rasterise_to_the_same_pixels(name):
    bitmap = BITMAPS[name]
    np.testing.assert_array_equal(rasterise(polygons(bitmap), bitmap.shape), bitmap)


@pytest.mark.parametrize('name', BITMAPS)
def test_polygons_are_simple(name):
    """No vertex twice: mmdet's crop of polygons silently drops those that touch themselves."""
    for polygon in polygons(BITMAPS[name]):
        vertices = list(zip(polygon[::2], polygon[1::2]))
        assert len(set(vertices)) == len(vertices) >= 4


def test_empty_bitmap_has_no_polygon():
    assert polygons(np.zeros((4, 4), bool)) == []
