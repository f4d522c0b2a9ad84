"""Non-maximum suppression: `nms` on torchvision, `softnms` (Bodla et al., 2017, "Soft-NMS") in numpy.

Boxes are (N, 4) as x1, y1, x2, y2; `offset` 1 means that a box covers pixels x1..x2 inclusive, as in mmdet
1.x.
"""

from __future__ import annotations

import numpy as np
import torch
import torchvision
from torch import Tensor

from ._precision import compute_dtype

NAIVE, LINEAR, GAUSSIAN = 0, 1, 2


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices (K,) int64 of the boxes kept, best score first; a box goes when its IoU with a better one
    exceeds the threshold.
    """
    dtype = compute_dtype(boxes, scores)
    boxes = boxes.detach().to(dtype)
    if offset:
        # widths x2 - x1 + 1 and overlaps min(x2) - max(x1) + 1 are those of boxes whose far corner lies one
        # pixel on
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    return torchvision.ops.nms(boxes, scores.detach().to(dtype), iou_threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS on the CPU (mmcv's wrapper moves the tensors there).

    Takes the best remaining box and lowers the scores of the others by their overlap with it, until none is
    left; a score that falls below `min_score` drops its box. `dets` (N, 5) is filled with the K boxes kept
    and their scores when taken; returns their indices (K,) int64. Of equal scores the first box is taken.
    """
    dtype = compute_dtype(boxes, scores)
    box = boxes.detach().to(dtype).numpy()
    score = scores.detach().to(dtype).numpy().copy()
    area = (box[:, 2] - box[:, 0] + offset) * (box[:, 3] - box[:, 1] + offset)
    remaining = np.arange(len(box))
    taken = []
    while len(remaining):
        best = int(score[remaining].argmax())
        index = remaining[best]
        taken.append(index)
        remaining = np.delete(remaining, best)
        iou = _overlaps(box[index], area[index], box[remaining], area[remaining], offset)
        score[remaining] *= _decay(iou, iou_threshold, sigma, method)
        remaining = remaining[~(score[remaining] < min_score)]
    kept = torch.tensor(np.array(taken, dtype=np.int64))
    dets[: len(kept)] = torch.cat([boxes.detach()[kept], torch.from_numpy(score)[kept, None].to(boxes)], dim=1)
    return kept


def _overlaps(box: np.ndarray, area: float, others: np.ndarray, areas: np.ndarray, offset: int) -> np.ndarray:
    """IoU (M,) of one box (4,) with `others` (M, 4); 0 where both are empty."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    intersection = np.clip(high - low + offset, 0, None).prod(axis=1)
    union = area + areas - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union != 0)


def _decay(iou: np.ndarray, iou_threshold: float, sigma: float, method: int) -> np.ndarray:
    if method == GAUSSIAN:
        return np.exp(-(iou**2) / sigma)
    lowered = 1 - iou if method == LINEAR else np.zeros_like(iou)
    return np.where(iou >= iou_threshold, lowered, 1)
