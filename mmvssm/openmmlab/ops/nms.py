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
    """Indices (K,) int64 of the boxes kept, best first; a box goes where a better one overlaps it by more."""
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
    corners = np.ascontiguousarray(boxes.detach().to(dtype).numpy().T)  # (4, N)
    score = scores.detach().to(dtype).numpy().copy()
    area = (corners[2] - corners[0] + offset) * (corners[3] - corners[1] + offset)
    left: np.ndarray = np.ones(len(score), dtype=bool)
    taken = []
    while left.any():
        best = int(np.where(left, score, -np.inf).argmax())
        taken.append(best)
        left[best] = False
        decay = _decay(_overlaps(best, corners, area, offset), iou_threshold, sigma, method)
        np.multiply(score, decay, out=score, where=left)
        left &= ~(score < min_score)
    kept = torch.tensor(taken, dtype=torch.long)
    dets[: len(kept)] = torch.cat([boxes.detach()[kept], torch.from_numpy(score)[kept, None].to(boxes)], dim=1)
    return kept


def _overlaps(one: int, corners: np.ndarray, area: np.ndarray, offset: int) -> np.ndarray:
    """IoU (N,) of box `one` with all of them; 0 where both are empty."""
    width = np.minimum(corners[2], corners[2, one]) - np.maximum(corners[0], corners[0, one]) + offset
    height = np.minimum(corners[3], corners[3, one]) - np.maximum(corners[1], corners[1, one]) + offset
    intersection = np.clip(width, 0, None) * np.clip(height, 0, None)
    union = area + area[one] - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union != 0)


def _decay(iou: np.ndarray, iou_threshold: float, sigma: float, method: int) -> np.ndarray:
    if method == GAUSSIAN:
        return np.exp(-(iou**2) / sigma)
    lowered = 1 - iou if method == LINEAR else np.zeros_like(iou)
    return np.where(iou >= iou_threshold, lowered, 1)
