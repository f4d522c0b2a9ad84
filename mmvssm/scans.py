"""Scan orders: in which order a sequence operator reads the tokens of an (H, W) map.

An order is a pure function `(H, W) -> (S,) int32`: the raster index `r * W + c` of the token read at each step, -1
where the step is padding. A token is read at most once. Adding an order is adding such a function to `ORDERS`, or
passing one instead of a name.

Sources: VMamba (arXiv 2401.10166) for rows and columns, LocalMamba (arXiv 2403.09338) for windows, EfficientVMamba
(arXiv 2403.09977) for the skip-sampled lattices.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Order = str | Callable[[int, int], Tensor]


class Orders(NamedTuple):
    """The K orders of one map size.

    Attributes:
        index: (K, S) int32, the token read at each step; -1 is padding. Orders shorter than S end in -1, which no
            causal operator notices.
        lengths: (K,) int32, the steps that each order really has.
        num_tokens: H * W.
    """

    index: Tensor
    lengths: Tensor
    num_tokens: int


def _grid(H: int, W: int) -> Tensor:
    return torch.arange(H * W, dtype=torch.int32).view(H, W)


def rows(H: int, W: int) -> Tensor:
    """Row-major."""
    return _grid(H, W).reshape(-1)


def columns(H: int, W: int) -> Tensor:
    """Column-major."""
    return _grid(H, W).t().reshape(-1)


def windows(H: int, W: int, size: int) -> Tensor:
    """Windows of `size` x `size` row-major, row-major inside; the map is padded at the bottom and right."""
    nh, nw = (H + size - 1) // size, (W + size - 1) // size
    # by arithmetic, not by views: with symbolic sizes a view would tie the trace to a number of windows
    step = torch.arange(nh * nw * size * size, dtype=torch.int32)
    window, inside = step // size**2, step % size**2
    row, column = window // nw * size + inside // size, window % nw * size + inside % size
    return torch.where((row < H) & (column < W), row * W + column, -1)


def atrous(H: int, W: int, lattice: int) -> Tensor:
    """One of the four lattices of step 2; lattices 1 and 3 start on odd rows and go column by column.

    Lattices 2 and 3 start on odd columns. The map is padded to even size, so all four have equal length.
    """
    grid = F.pad(_grid(H, W), (0, W % 2, 0, H % 2), value=-1)[lattice % 2 :: 2, lattice // 2 :: 2]
    return (grid.t() if lattice % 2 else grid).reshape(-1)


ORDERS: dict[str, Callable[[int, int], Tensor]] = {
    'h': rows,
    'v': columns,
    **{f'atrous{i}': partial(atrous, lattice=i) for i in range(4)},
}
CROSS_SCAN = ('h', 'v', 'h_flip', 'v_flip')
LOCAL_SCAN = ('h', 'h_flip', 'v', 'v_flip', 'w2', 'w2_flip', 'w7', 'w7_flip')
ATROUS_SCAN = ('atrous0', 'atrous1', 'atrous2', 'atrous3')


def order_function(order: Order) -> Callable[[int, int], Tensor]:
    """The function of an order given by name: a key of `ORDERS` or `wK`, either with `_flip`; or given itself.

    Raises:
        ValueError: the name is unknown.
    """
    if callable(order):
        return order
    base = order.removesuffix('_flip')
    if base in ORDERS:
        function = ORDERS[base]
    elif base[:1] == 'w' and base[1:].isdecimal() and int(base[1:]) > 0:
        function = partial(windows, size=int(base[1:]))
    else:
        raise ValueError(
            f'scan order {order!r} is unknown; allowed: {", ".join(ORDERS)}, wK (windows of K x K), '
            'each also with _flip, or a function (H, W) -> indices'
        )
    return (lambda H, W: function(H, W).flip(0)) if order != base else function


def largest(a: int, b: int) -> int:
    """The larger of two sizes, which may be symbols of a trace; torch.jit.trace keeps it as a constant."""
    return max(int(a), int(b)) if torch.jit.is_tracing() else torch.sym_max(a, b)


def build(names: Sequence[Order], H: int, W: int, device=None) -> Orders:
    """`orders` without the cache."""
    if len(names) == 0:
        raise ValueError('orders: at least one scan order is needed')
    each = [order_function(name)(H, W) for name in names]
    length = each[0].shape[0]
    for index in each[1:]:
        length = largest(length, index.shape[0])
    index = torch.stack([F.pad(i, (0, length - i.shape[0]), value=-1) for i in each])
    lengths = torch.stack([torch.full((), i.shape[0], dtype=torch.int32) for i in each])
    return Orders(index.to(device=device, dtype=torch.int32), lengths.to(device), H * W)


_CACHE_SIZE = 256
_cache: OrderedDict[tuple, Orders] = OrderedDict()


def orders(names: Sequence[Order], H: int, W: int, device=None) -> Orders:
    """The index tables of `names` for an (H, W) map, on `device`.

    Cached in eager mode; while torch.compile or torch.export trace, made of torch operations so that H and W may be
    symbolic.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return build(names, H, W, device)
    probe = torch.empty(0, device=device)
    if type(probe) is not Tensor:  # under a fake-tensor or similar mode; such tables must not outlive it
        return build(names, H, W, device)
    key = (tuple(names), H, W, probe.device)
    if key not in _cache:
        with torch.inference_mode(False), torch.device('cpu'):  # a table made in inference mode is no use in training
            _cache[key] = build(names, H, W, probe.device)
        if len(_cache) > _CACHE_SIZE:
            _cache.popitem(last=False)
    _cache.move_to_end(key)
    return _cache[key]


def _take(x: Tensor, index: Tensor) -> Tensor:
    """Entries `index` of dimension 1 of x (B, M, ...), 0 where index is M: (B, *index.shape, ...)."""
    padded = torch.cat([x, x.new_zeros(x.shape[0], 1, *x.shape[2:])], dim=1)
    return padded.index_select(1, index.reshape(-1)).view(x.shape[0], *index.shape, *x.shape[2:])


def _inverse(orders: Orders) -> Tensor:
    """(K, L) int64: the step at which each order reads each token, S where it never does."""
    K, S = orders.index.shape
    L = orders.num_tokens
    index = orders.index.long()
    step = torch.arange(S, device=index.device).expand(K, S)
    never = torch.full((K, L + 1), S, dtype=torch.int64, device=index.device)  # column L collects the padding
    return never.scatter(1, torch.where(index < 0, L, index), step)[:, :L]


def read(x: Tensor, orders: Orders) -> Tensor:
    """Read the tokens x (B, L, ...) along each order: (B, K, S, ...), zeros at padding."""
    index = orders.index.long()
    return _take(x, torch.where(index < 0, orders.num_tokens, index))


def read_each(x: Tensor, orders: Orders) -> Tensor:
    """Read x (B, L, K, ...), where each order has tokens of its own, along its order: (B, K, S, ...)."""
    K, L = orders.index.shape[0], orders.num_tokens
    index = orders.index.long()
    own = index * K + torch.arange(K, device=index.device)[:, None]
    return _take(x.reshape(x.shape[0], L * K, *x.shape[3:]), torch.where(index < 0, L * K, own))


def write(y: Tensor, orders: Orders) -> Tensor:
    """Bring y (B, K, S, ...) back to token order: (B, K, L, ...); padding is dropped, tokens never read are 0.

    Its sum over K is the adjoint of `read`.
    """
    K, S = orders.index.shape
    step = _inverse(orders)
    own = step + torch.arange(K, device=step.device)[:, None] * S
    flat = y.reshape(y.shape[0], K * S, *y.shape[3:])
    return _take(flat, torch.where(step == S, K * S, own))


def write_each(y: Tensor, orders: Orders) -> Tensor:
    """As `write`, for outputs that lie step by step, y (B, S, K, ...): (B, L, K, ...)."""
    K, S = orders.index.shape
    step = _inverse(orders).t()
    own = step * K + torch.arange(K, device=step.device)
    return _take(y.reshape(y.shape[0], S * K, *y.shape[3:]), torch.where(step == S, S * K, own))


def merge(y: Tensor, orders: Orders) -> Tensor:
    """Bring y (B, K, S, ...) back to token order and add the orders up: (B, L, ...)."""
    return write(y, orders).sum(1)
