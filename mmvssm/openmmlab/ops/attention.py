"""Multi-scale deformable attention (Zhu et al., 2021, "Deformable DETR", equation 3), on torch's grid_sample.

`value` (B, S, M, D): the tokens of all levels one after another, M heads of D channels; `shapes` (L, 2)
int64: height and width of each level; `starts` (L,) int64: its first token; `locations` (B, Q, M, L, P, 2):
x, y in 0..1 over each level; `weights` (B, Q, M, L, P). A location outside its level samples zero.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ._precision import compute_dtype


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """(B, Q, M*D) in the dtype of `value`; `im2col_step`, a batch split of the compiled operator, is not needed."""
    wide, locations, weights = _prepare(value, sampling_locations, attention_weights)
    return _attend(wide, locations, weights, value_spatial_shapes, value_level_start_index).to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Fills the three gradients; the samples are computed again, so the forward pass keeps none."""
    inputs = [t.requires_grad_() for t in _prepare(value, sampling_locations, attention_weights)]
    with torch.enable_grad():
        wide, locations, weights = inputs
        output = _attend(wide, locations, weights, value_spatial_shapes, value_level_start_index)
    grads = torch.autograd.grad(output, inputs, grad_output.to(output.dtype))
    for buffer, grad in zip((grad_value, grad_sampling_loc, grad_attn_weight), grads):
        buffer.copy_(grad)


def _prepare(*tensors: Tensor) -> list[Tensor]:
    dtype = compute_dtype(*tensors)
    return [t.detach().to(dtype) for t in tensors]


def _attend(value: Tensor, locations: Tensor, weights: Tensor, shapes: Tensor, starts: Tensor) -> Tensor:
    batch, _, heads, channels = value.shape
    queries = locations.shape[1]
    grids = (2 * locations - 1).transpose(1, 2).flatten(0, 1)  # (B*M, Q, L, P, 2) in -1..1
    weights = weights.transpose(1, 2).flatten(0, 1)  # (B*M, Q, L, P)
    total = value.new_zeros(batch * heads, channels, queries)
    for level, ((height, width), start) in enumerate(zip(shapes.tolist(), starts.tolist())):
        tokens = value[:, start : start + height * width]
        maps = tokens.permute(0, 2, 3, 1).reshape(batch * heads, channels, height, width)
        samples = F.grid_sample(maps, grids[:, :, level], mode='bilinear', padding_mode='zeros', align_corners=False)
        total = total + (samples * weights[:, None, :, level]).sum(-1)
    return total.view(batch, heads * channels, queries).transpose(1, 2).contiguous()
