"""RoIAlign (He et al., 2017, "Mask R-CNN", section 3) and RoIPool (Girshick, 2015, "Fast R-CNN", 2.1).

All functions write into buffers that mmcv allocated: `output` (R, C, ph, pw), `grad_input` (B, C, H, W).
Regions `rois` are (R, 5): index of the image, x1, y1, x2, y2.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ._precision import compute_dtype

MAX = 0  # mmcv's pool_mode; 1 is the average


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Average or maximum of bilinear samples in each bin; 0 in a bin without samples (a region of no size).

    In max mode `argmax_y`, `argmax_x` (shaped as `output`) note the row and column of the sample that won.
    """
    dtype = compute_dtype(input, rois)
    feature, rois = input.detach().to(dtype), rois.detach().to(dtype)
    size = (aligned_height, aligned_width)
    if pool_mode != MAX:
        output.copy_(_align(feature, rois, spatial_scale, *size, sampling_ratio, aligned))
        return
    output.zero_()
    for which, (rows, columns) in _sample_grids(rois, size, spatial_scale, sampling_ratio, aligned):
        samples = _align(feature, rois[which], spatial_scale, size[0] * rows, size[1] * columns, 1, aligned)
        value, index = _bins(samples, size, (rows, columns)).flatten(4).max(dim=4)
        output[which] = value.to(output.dtype)
        argmax_y[which] = (index // columns).to(argmax_y.dtype)
        argmax_x[which] = (index % columns).to(argmax_x.dtype)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """`grad_input` (B, C, H, W) gets the gradient."""
    dtype = compute_dtype(grad_output, rois)
    grad, rois = grad_output.to(dtype), rois.to(dtype)
    size = (aligned_height, aligned_width)
    shape = grad_input.shape
    if pool_mode != MAX:
        grad_input.copy_(_align_backward(grad, rois, spatial_scale, *size, *shape, sampling_ratio, aligned))
        return
    total = grad.new_zeros(shape)
    for which, (rows, columns) in _sample_grids(rois, size, spatial_scale, sampling_ratio, aligned):
        index = argmax_y[which].long() * columns + argmax_x[which].long()
        one_hot = grad.new_zeros(*index.shape, rows * columns)
        one_hot.scatter_(4, index.unsqueeze(4), grad[which].unsqueeze(4))
        samples = _bins_adjoint(one_hot.unflatten(4, (rows, columns)))
        total += _align_backward(samples, rois[which], spatial_scale, *samples.shape[2:], *shape, 1, aligned)
    grad_input.copy_(total)


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Maximum over the pixels of each bin, 0 in an empty one; `argmax` int32: the winner's raster index or -1.

    The bins are mmcv's: the far corner lies one pixel on, and edges are scaled, divided, and only then rounded
    outwards. (torchvision.ops.roi_pool rounds the corners first.) Each bin becomes a one-bin region of whole pixels
    for torchvision.
    """
    bins, empty = _pool_bins(rois, input.shape[2:], pooled_height, pooled_width, spatial_scale)
    feature = input.detach().to(compute_dtype(input))
    value, index = torch.ops.torchvision.roi_pool(feature, bins.to(feature.dtype), 1.0, 1, 1)
    shape = (len(rois), pooled_height, pooled_width, input.shape[1])
    output.copy_(value.masked_fill(empty[:, None, None, None], 0).view(shape).permute(0, 3, 1, 2))
    argmax.copy_(index.masked_fill(empty[:, None, None, None], -1).view(shape).permute(0, 3, 1, 2))


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """`grad_input` (B, C, H, W) gets the gradient."""
    shape = grad_input.shape
    dtype = compute_dtype(grad_output)
    grad = grad_output.to(dtype).masked_fill(argmax < 0, 0).flatten(2)  # (R, C, bins)
    image = rois[:, 0].long()[:, None, None]
    channel = torch.arange(shape[1], device=rois.device)[None, :, None]
    place = (image * shape[1] + channel) * (shape[2] * shape[3]) + argmax.long().clamp(min=0).flatten(2)
    total = torch.zeros(grad_input.numel(), dtype=dtype, device=grad_input.device)
    grad_input.copy_(total.index_add_(0, place.flatten(), grad.flatten()).view(shape))


def _align(feature: Tensor, rois: Tensor, scale: float, height: int, width: int, ratio: int, aligned: bool) -> Tensor:
    return torch.ops.torchvision.roi_align(feature, rois, scale, height, width, ratio, aligned)


def _align_backward(grad: Tensor, rois: Tensor, scale: float, *sizes_ratio_aligned) -> Tensor:
    return torch.ops.torchvision._roi_align_backward(grad.contiguous(), rois, scale, *sizes_ratio_aligned)


def _sample_grids(
    rois: Tensor, size: tuple[int, int], scale: float, ratio: int, aligned: bool
) -> Iterator[tuple[Tensor, tuple[int, int]]]:
    """Groups of regions with equal numbers of samples a bin: (indices of the regions, (rows, columns)).

    A grid of r x c samples in each of ph x pw bins is the same as one sample in each of ph*r x pw*c bins,
    which is how the maximum gets its samples from torchvision's average. Regions without samples are left
    out.
    """
    if ratio > 0:
        grids = torch.full((len(rois), 2), ratio, dtype=torch.long, device=rois.device)
    else:
        corners = rois[:, 1:] * scale
        extent = (corners[:, 2:] - corners[:, :2]).flip(1)  # (R, 2) height, width
        if not aligned:
            extent = extent.clamp(min=1)
        grids = torch.ceil(extent / extent.new_tensor(size)).long()
    for grid in grids.unique(dim=0).tolist():
        if min(grid) > 0:
            yield (grids == grids.new_tensor(grid)).all(dim=1).nonzero().flatten(), tuple(grid)


def _bins(samples: Tensor, size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """(R, C, ph*rows, pw*columns) -> (R, C, ph, pw, rows, columns)."""
    return samples.unflatten(3, (size[1], grid[1])).unflatten(2, (size[0], grid[0])).transpose(3, 4)


def _bins_adjoint(bins: Tensor) -> Tensor:
    return bins.transpose(3, 4).flatten(4, 5).flatten(2, 3)


def _pool_bins(rois: Tensor, map_size: torch.Size, rows: int, columns: int, scale: float) -> tuple[Tensor, Tensor]:
    """Bins as regions of whole pixels, corners inclusive: (R*rows*columns, 5), and which of them are empty."""
    rois = rois.detach().to(compute_dtype(rois))
    (top, bottom), (left, right) = (
        _pool_edges(rois[:, 1 + axis] * scale, (rois[:, 3 + axis] + 1) * scale, count, map_size[1 - axis])
        for axis, count in ((1, rows), (0, columns))
    )
    shape = (len(rois), rows, columns)
    image = rois[:, :1, None].expand(shape)
    left, right = left[:, None].expand(shape), right[:, None].expand(shape)
    top, bottom = top[..., None].expand(shape), bottom[..., None].expand(shape)
    bins = torch.stack([image, left, top, right - 1, bottom - 1], dim=-1).flatten(0, 2)
    return bins, ((right <= left) | (bottom <= top)).flatten()


def _pool_edges(start: Tensor, stop: Tensor, count: int, limit: int) -> tuple[Tensor, Tensor]:
    """First and past-the-end pixel (R, count) of each bin along one axis, clipped to the map."""
    step = ((stop - start) / count)[:, None]
    number = torch.arange(count, device=start.device, dtype=start.dtype)
    first = torch.floor(number * step + start[:, None])
    past = torch.ceil((number + 1) * step + start[:, None])
    past = torch.where(step > 0, past, first)  # a region of no size has empty bins
    return first.clamp(0, limit), past.clamp(0, limit)
