"""Deformable convolution (Dai et al., 2017), its modulated form (Zhu et al., 2019), on torchvision's deform_conv2d.

`input` (B, C, H, W); `offset` (B, 2*G*kh*kw, H', W') with y before x in each pair; `mask` (B, G*kh*kw, H',
W'); `weight` (O, C/groups, kh, kw); G deformable groups. Results go into buffers that mmcv allocated.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ._precision import compute_dtype

Geometry = tuple[int, int, int, int, int, int, int, int]


def _geometry(options: dict) -> Geometry:
    """torchvision's order of what mmcv's operators get as keywords: dH, dW, ... or stride_h, stride_w, ...

    `im2col_step`, a batch split of the compiled operators, and the kernel's size, which the weight has, are not needed.
    """
    names = (
        ('dH', 'dW', 'padH', 'padW', 'dilationH', 'dilationW')
        if 'dH' in options
        else ('stride_h', 'stride_w', 'pad_h', 'pad_w', 'dilation_h', 'dilation_w')
    )
    rows, columns, top, left, down, right = (options[name] for name in names)
    return rows, columns, top, left, down, right, options['group'], options['deformable_group']


def deform_conv_forward(
    input: Tensor, weight: Tensor, offset: Tensor, output: Tensor, columns: Tensor, ones: Tensor, **options: int
) -> None:
    """`columns` and `ones` are scratch space of the compiled operator."""
    output.copy_(_forward(input, weight, offset, None, None, _geometry(options)))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **options: int,
) -> None:
    """torchvision computes all gradients at once: the weight's waits in `columns` for the call below."""
    grads = _backward(gradOutput, (input, weight, offset, None, None), _geometry(options))
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
    *,
    scale: float,
    **options: int,
) -> None:
    """Adds `scale` times the weight's gradient to `gradWeight`."""
    if columns.shape != gradWeight.shape:  # neither the input nor the offset wanted a gradient
        # the wrapper does not pass the weight, and its own gradient does not depend on it
        grads = _backward(gradOutput, (input, gradWeight, offset, None, None), _geometry(options))
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
    *,
    with_bias: bool,
    **options: int,
) -> None:
    """`ones` and `columns` are scratch space of the compiled operator."""
    output.copy_(_forward(input, weight, offset, mask, bias if with_bias else None, _geometry(options)))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    *gradients: Tensor,
    with_bias: bool,
    **options: int,
) -> None:
    """`gradients`: buffers of those of input, weight, bias, offset and mask, then the output's gradient."""
    *buffers, grad_output = gradients
    tensors = (input, weight, offset, mask, bias if with_bias else None)
    grads = _backward(grad_output, tensors, _geometry(options))
    for name, buffer in zip(('input', 'weight', 'bias', 'offset', 'mask'), buffers):
        if with_bias or name != 'bias':
            buffer.copy_(grads[name])


def _forward(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor | None, geometry: Geometry
) -> Tensor:
    tensors = _prepare(input, weight, offset, mask, bias)
    return torch.ops.torchvision.deform_conv2d(*tensors, *geometry, mask is not None)


def _backward(grad: Tensor, of: tuple, geometry: Geometry) -> dict[str, Tensor]:
    """Gradients of input, weight, offset, mask and bias, of which the last two may be None."""
    mask, tensors = of[3], _prepare(*of)
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
