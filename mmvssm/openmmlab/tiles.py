"""Detection on large images by overlapping tiles, cut and matched by sahi (Akyon et al., ICIP 2022)."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mmvssm.errors import UsageError
from mmvssm.pictures import Instances

from .found import Found

MATCH = 0.5  # intersection over the smaller of two boxes of a class, from which on they are parts of one object
MOST = 300  # objects kept of an image, best first


class Part(NamedTuple):
    """An object as a tile shows it: its box on the image, its mask on the tile, whose corner is at `left, top`."""

    box: np.ndarray
    label: int
    score: float
    mask: np.ndarray | None
    left: int
    top: int


def predict(whole: Callable[[list], list[Found]], image: np.ndarray, side: int, overlap: float) -> Found:
    """Objects of an image, from its tiles and from the whole of it (for those larger than a tile).

    Args:
        whole: images -> what is found on each.
        image: (H, W, 3).
        side: of a tile, in pixels.
        overlap: of neighbouring tiles, a fraction of their side.

    Raises:
        UsageError: sahi is not installed.
    """
    try:
        from sahi.postprocess.combine import batched_greedy_nmm
        from sahi.slicing import get_slice_bboxes
    except ImportError:
        raise UsageError('--tile needs sahi: pip install "mmvssm[tile]"') from None
    height, width = image.shape[:2]
    tiles = get_slice_bboxes(height, width, side, side, False, overlap, overlap)
    (all_of_it,) = whole([image])
    parts = _parts(all_of_it, 0, 0)
    for left, top, right, bottom in tiles if len(tiles) > 1 else []:
        (found,) = whole([np.ascontiguousarray(image[top:bottom, left:right])])
        parts += _parts(found, left, top)
    if not parts:
        return all_of_it
    rows = np.array([[*part.box, part.score, part.label] for part in parts], np.float32)
    groups = batched_greedy_nmm(rows, 'IOS', MATCH)
    merged = [[parts[kept], *(parts[i] for i in others)] for kept, others in groups.items()]
    merged.sort(key=lambda group: -group[0].score)
    return all_of_it.replaced(_union(merged[:MOST], (height, width)))


def _parts(found: Found, left: int, top: int) -> list[Part]:
    instances = found.instances
    assert instances is not None
    assert instances.scores is not None
    masks = [None] * len(instances.boxes) if instances.masks is None else instances.masks
    shift = np.array([left, top, left, top])
    return [
        Part(box + shift, int(label), float(score), mask, left, top)
        for box, label, score, mask in zip(instances.boxes, instances.labels, instances.scores, masks, strict=True)
    ]


def _union(groups: list[list[Part]], shape: tuple[int, int]) -> Instances:
    """The smallest box around a group's, all of its masks, and its best score."""
    boxes = [np.stack([part.box for part in group]) for group in groups]
    around = np.stack([np.concatenate([box[:, :2].min(0), box[:, 2:].max(0)]) for box in boxes])
    masks: np.ndarray | None = None
    if groups[0][0].mask is not None:
        masks = np.zeros((len(groups), *shape), bool)
        for mask, group in zip(masks, groups):
            for part in group:
                assert part.mask is not None
                height, width = part.mask.shape
                mask[part.top : part.top + height, part.left : part.left + width] |= part.mask.astype(bool)
    labels, scores = zip(*[(group[0].label, group[0].score) for group in groups])
    return Instances(around, np.array(labels), masks, np.array(scores))
