"""Deformable convolution (Dai et al., 2017) and its modulated form (Zhu et al., 2019), on
torchvision.ops.deform_conv2d.

`input` (B, C, H, W); `offset` (B, 2*G*kh*kw, H', W') with y before x in each pair; `mask` (B, G*kh*kw, H',
W'); `weight` (O, C/groups, kh, kw); G deformable groups. Results go into buffers that mmcv allocated.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ._precision import compute_dtype


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """`columns`, `ones` are scratch space and `im2col_step` a batch split of the compiled operator: not
    needed here.
    """
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    output.copy_(_forward(input, weight, offset, None, None, geometry))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """torchvision computes all gradients at once: the weight's waits in `columns` for the call below."""
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    grads = _backward(gradOutput, input, weight, offset, None, None, geometry)
    gradInput.copy_(grads['input'])
    gradOffset.copy_(grads['offset'])
    columns.resize_(weight.shape).copy_(grads['weight'])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Adds `scale` times the weight's gradient to `gradWeight`."""
    if columns.shape != gradWeight.shape:  # neither the input nor the offset wanted a gradient
        geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
        # the wrapper does not pass the weight, and its own gradient does not depend on it
        grads = _backward(gradOutput, input, gradWeight, offset, None, None, geometry)
        gradWeight.add_(grads['weight'].to(gradWeight.dtype), alpha=scale)
        return
    gradWeight.add_(columns, alpha=scale)
    columns.resize_(0)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    geometry = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    output.copy_(_forward(input, weight, offset, mask, bias if with_bias else None, geometry))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    geometry = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    grads = _backward(grad_output, input, weight, offset, mask, bias if with_bias else None, geometry)
    grad_input.copy_(grads['input'])
    grad_weight.copy_(grads['weight'])
    grad_offset.copy_(grads['offset'])
    grad_mask.copy_(grads['mask'])
    if with_bias:
        grad_bias.copy_(grads['bias'])


def _forward(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor | None, geometry: tuple
) -> Tensor:
    tensors = _prepare(input, weight, offset, mask, bias)
    return torch.ops.torchvision.deform_conv2d(*tensors, *geometry, mask is not None)


def _backward(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    geometry: tuple,
) -> dict[str, Tensor]:
    tensors = _prepare(input, weight, offset, mask, bias)
    grads = torch.ops.torchvision._deform_conv2d_backward(
        grad.to(tensors[0].dtype).contiguous(), *tensors, *geometry, mask is not None
    )
    return dict(zip(('input', 'weight', 'offset', 'mask', 'bias'), grads))


def _prepare(input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor | None) -> list[Tensor]:
    """torchvision wants one dtype, contiguous memory, and tensors in place of an absent mask and bias."""
    if mask is None:
        mask = input.new_zeros((input.shape[0], 1))
    if bias is None:
        bias = input.new_zeros(weight.shape[0])
    dtype = compute_dtype(input)
    return [t.detach().to(dtype).contiguous() for t in (input, weight, offset, mask, bias)]
