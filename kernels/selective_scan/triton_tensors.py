"""Tensors as the Triton kernels of the selective scan take them, and what becomes of those that they leave."""

from functools import reduce

import torch
from torch import Tensor

from ..triton_groups import Rows
from .triton_straight import Line


def as_float32(tensor: Tensor | None, like: Tensor) -> Tensor:
    """A parameter, contiguous float32; something to point at where it is absent."""
    return like if tensor is None else tensor.detach().to(torch.float32).contiguous()


def line(tensor: Tensor) -> Line:
    """For a kernel that has strides compiled in: batch elements lie end to end."""
    b, L = tensor.shape[:2]
    if b > 1 and tensor.stride(0) != L * tensor.stride(1):
        tensor = tensor.contiguous()
    _, token, *direction, _ = tensor.stride()
    return Line(tensor, token, direction[0] if direction else 0)


def rows(tensor: Tensor) -> Rows:
    """For a kernel; x and y shared by the directions have no stride for them."""
    batch, token, *direction, _ = tensor.stride()
    return Rows(tensor, batch, token, direction[0] if direction else 0)


def add_up(tensors) -> Tensor:
    """Sum over groups of states."""
    return reduce(torch.add, tensors)


def sum_shares(tensor: Tensor) -> Tensor:
    """Sum over the first dimension, which is mostly one."""
    return tensor[0] if tensor.shape[0] == 1 else tensor.sum(0)


def concatenate(tensors) -> Tensor:
    """Groups of states one after another."""
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim=-1)
