"""Scans and their order tables as single nodes of an exported graph, whatever the size of the image.

torch.export would write a scan out in operations whose number depends on the length, and hold the program to it. While
:func:`as_nodes` holds, each scan is one custom operator instead, and the table of a layer's orders another, made of the
height and width in the graph. Where the program is read they run this project's kernels; ONNX has them written out by
`onnx_scan` and `onnx_orders`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from mmvssm import scans
from mmvssm.errors import UsageError
from mmvssm.kernels import register, selective_scan, use_backend
from mmvssm.scans import Orders


@torch.library.custom_op('mmvssm::scan_node', mutates_args=())
def scan_node(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    dt_bias: Tensor | None,
    dt_weight: Tensor | None,
    index: Tensor,
    softplus: bool,
    merge: bool,
) -> Tensor:
    """`selective_scan` along the orders `index` (K, S)."""
    orders = Orders(index, torch.full_like(index[:, 0], index.shape[1]), x.shape[1])
    return selective_scan(
        x, dt, A, B, C, D, dt_bias, dt_weight=dt_weight, orders=orders, softplus=softplus, merge=merge
    )


@scan_node.register_fake
def _(x, dt, A, B, C, D, dt_bias, dt_weight, index, softplus, merge):
    b, tokens, channels = x.shape[0], x.shape[1], x.shape[-1]
    return x.new_empty((b, tokens, channels) if merge else (b, tokens, A.shape[0], channels))


@torch.library.custom_op('mmvssm::orders_node', mutates_args=())
def orders_node(names: str, height: int, width: int) -> Tensor:
    """(K, S) int32: the tables of orders whose names are separated by spaces."""
    return scans.build(names.split(), height, width).index.clone()


@orders_node.register_fake
def _(names, height, width):
    return torch.empty(len(names.split()), steps(names.split(), height, width), dtype=torch.int32)


def steps(names: Sequence[str], height: int, width: int) -> int:
    """S of a table, of sizes that may be symbols."""
    longest = 0
    for name in names:
        longest = scans.largest(longest, _length(name.removesuffix('_flip'), height, width))
    return longest


def _length(name: str, height: int, width: int) -> int:
    if name.startswith('atrous'):
        return ((height + 1) // 2) * ((width + 1) // 2)
    side = int(name[1:]) if name.startswith('w') else 1
    return ((height + side - 1) // side * side) * ((width + side - 1) // side * side)


def _orders(names: Sequence[scans.Order], height: int, width: int, device, layer) -> Orders:
    if isinstance(height, int) and isinstance(width, int):
        index = scans.build(names, height, width, device, layer).index
    else:
        index = orders_node(' '.join(_computable(name) for name in names), height, width)
    lengths = torch.zeros(len(names), dtype=torch.int32)  # `scan_node` does not look at them
    return Orders(index, lengths, height * width)


def _computable(name: scans.Order) -> str:
    if isinstance(name, str) and (name.removesuffix('_flip') in scans.BUILT_IN or name[1:2].isdigit()):
        return name
    shown = name if isinstance(name, str) else getattr(name, '__name__', repr(name))
    raise UsageError(f'the order {shown} cannot be computed in a graph of every size: export at one size')


def _scan(x, dt, A, B, C, D, dt_bias, dt_weight, orders: Orders, softplus: bool, merge: bool, out_dtype) -> Tensor:
    return scan_node(x, dt, A, B, C, D, dt_bias, dt_weight, orders.index, softplus, merge).to(out_dtype)


@contextmanager
def as_nodes() -> Iterator[None]:
    """Meanwhile scans and tables are single nodes."""
    with register('selective_scan', 'node', _scan), use_backend('node'), scans.made_by(_orders):
        yield
