"""Scan orders: in which order a sequence operator reads the tokens of an (H, W) map.

An order is a pure function `(H, W) -> (S,) int32`: the raster index `r * W + c` of the token read at each step, -1
where the step is padding. A token is read at most once. Adding an order is adding such a function to `ORDERS`, or
passing one instead of a name: the function itself, or its dotted name ('package.module.function') where only text
will do, as in a config. Tables are made once for an order, size and device, see `orders`.

Sources: VMamba (arXiv 2401.10166) for rows and columns, LocalMamba (arXiv 2403.09338) for windows, EfficientVMamba
(arXiv 2403.09977) for the skip-sampled lattices.
"""

import os
import pkgutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvssm import directions
from mmvssm.settings import short
from mmvssm.tracing import is_compiling, is_tracing, largest

Order = str | Callable[[int, int], Tensor]


class Orders(NamedTuple):
    """The K orders of one map size.

    Attributes:
        index: (K, S) int32, the token read at each step; -1 is padding. Orders shorter than S end in -1, which no
            causal operator notices.
        lengths: (K,) int32, the steps that each order really has.
        num_tokens: H * W.
        straight: height, width and directions of the map, where all orders go along its rows or columns and kernels may
            compute `index` instead of reading it; else empty. Two bits of `directions` are an order's, the first
            order's the lowest: 1 for columns, 2 for flipped.
    """

    index: Tensor
    lengths: Tensor
    num_tokens: int
    straight: tuple[int, ...] = ()


def _grid(H: int, W: int, device=None) -> Tensor:
    return torch.arange(H * W, dtype=torch.int32, device=device).view(H, W)


def rows(H: int, W: int, device=None) -> Tensor:
    """Row-major."""
    return _grid(H, W, device).reshape(-1)


def columns(H: int, W: int, device=None) -> Tensor:
    """Column-major."""
    return _grid(H, W, device).t().reshape(-1)


def windows(H: int, W: int, device=None, *, size: int) -> Tensor:
    """Windows of `size` x `size` row-major, row-major inside; the map is padded at the bottom and right."""
    nh, nw = (H + size - 1) // size, (W + size - 1) // size
    row = torch.arange(nh * size, dtype=torch.int32, device=device).view(nh, 1, size, 1)
    column = torch.arange(nw * size, dtype=torch.int32, device=device).view(1, nw, 1, size)
    return torch.where((row < H) & (column < W), row * W + column, -1).reshape(-1)


def atrous(H: int, W: int, device=None, *, lattice: int) -> Tensor:
    """One of the four lattices of step 2; lattices 1 and 3 start on odd rows and go column by column.

    Lattices 2 and 3 start on odd columns. The map is padded to even size, so all four have equal length.
    """
    grid = F.pad(_grid(H, W, device), (0, W % 2, 0, H % 2), value=-1)[lattice % 2 :: 2, lattice // 2 :: 2]
    return (grid.t() if lattice % 2 else grid).reshape(-1)


ORDERS: dict[str, Callable[..., Tensor]] = {
    'h': rows,
    'v': columns,
    **{f'atrous{i}': partial(atrous, lattice=i) for i in range(4)},
}
BUILT_IN = frozenset(ORDERS)
CROSS_SCAN = ('h', 'v', 'h_flip', 'v_flip')
MOST_STRAIGHT = 15  # orders whose directions fit 32 bits
LOCAL_SCAN = ('h', 'h_flip', 'v', 'v_flip', 'w2', 'w2_flip', 'w7', 'w7_flip')
ATROUS_SCAN = ('atrous0', 'atrous1', 'atrous2', 'atrous3')
ALLOWED = (
    f'{", ".join(ORDERS)}, wK (windows of K x K), each also with _flip, '
    'or a function (H, W) -> (S,) integers, itself or by its dotted name'
)


def order_function(order: Order, field: str = '') -> Callable[..., Tensor]:
    """The function of an order: itself, or by dotted name, or by a key of `ORDERS` or `wK`, either with `_flip`.

    The built-in ones also take the device that the table is made on.

    Args:
        field: where the order was given, for errors.

    Raises:
        ValueError: no such order.
    """
    if callable(order):
        return order
    base = order.removesuffix('_flip') if isinstance(order, str) else ''
    if base in ORDERS:
        function = ORDERS[base]
    elif base[:1] == 'w' and base[1:].isdecimal() and int(base[1:]) > 0:
        function = partial(windows, size=int(base[1:]))
    elif '.' in base:
        return _imported(order, field)
    else:
        raise _error(field, order, f'is unknown; allowed: {ALLOWED}')
    return (lambda *args: _as_tensor(function(*args)).flip(0)) if order != base else function


def _as_tensor(index) -> Tensor:
    """A tensor itself, wherever it is: torch.as_tensor would bring it to the default device."""
    return index if isinstance(index, Tensor) else torch.as_tensor(index)


def _imported(name: str, field: str) -> Callable[[int, int], Tensor]:
    try:
        function = pkgutil.resolve_name(name)
    except Exception as error:  # the module runs as it is imported
        reason = f'could not be imported ({type(error).__name__}: {error})'
        raise _error(field, name, f'{reason}; allowed: {ALLOWED}') from error
    if not callable(function):
        raise _error(field, name, f'is a {type(function).__name__}, no function; allowed: {ALLOWED}')
    return function


def _error(field: str, order: Order, problem: str) -> ValueError:
    return ValueError(f'{field}: scan order {order!r} {problem}' if field else f'scan order {order!r} {problem}')


def check_orders(field: str, orders, count: int | None = None) -> tuple[Order, ...]:
    """A list of orders, as a tuple; `count` is how many there must be.

    Raises:
        ValueError: not a list, another number, or no such order; it names the field, the place in the list and what is
            allowed.
    """
    if not _is_list(orders) or count not in (None, len(orders)):
        raise ValueError(f'{field}={short(orders)} must be a list of {_wanted(count)}; allowed: {ALLOWED}')
    for place, order in enumerate(orders):
        order_function(order, f'{field}[{place}]')
    return tuple(orders)


def _is_list(orders) -> bool:
    return isinstance(orders, Sequence) and not isinstance(orders, str) and len(orders) > 0


def _wanted(count: int | None) -> str:
    return 'at least one scan order' if count is None else f'{count} scan orders'


def layer_orders(field: str, orders, num_layers: int, count: int | None = None) -> list[tuple[Order, ...] | None]:
    """The orders of each layer: given one list for all layers, one list (or None) for each, or None for all.

    A path is read as a file that a search has left, see `mmvssm.directions`.

    Raises:
        ValueError: as of `check_orders`, naming the layer, or a wrong number of layers.
    """
    if orders is None:
        return [None] * num_layers
    source = field
    if directions.is_path(orders):
        found = directions.read(orders, field)
        model = found.about.get('model')
        source = f'{field}={str(orders)!r}' + (f', of {model},' if model else '')
        orders = found.lists
    if not _is_list(orders):
        raise ValueError(
            f'{field}={short(orders)} must be a list of {_wanted(count)}, or one such list (or None) for each of the '
            f"model's {num_layers} layers, or the path of a .json file of them; allowed: {ALLOWED}"
        )
    if all(isinstance(o, str) or not isinstance(o, Sequence | None) for o in orders):
        return [check_orders(field, orders, count)] * num_layers
    if len(orders) != num_layers:
        raise ValueError(
            f'{source} has {len(orders)} layers, the model {num_layers}; allowed: one list, or one for each layer'
        )
    return [None if own is None else check_orders(f'{field}[{i}]', own, count) for i, own in enumerate(orders)]


def table(order: Order, H: int, W: int, device=None, field: str = '') -> Tensor:
    """The (S,) int32 index table of one order on `device`.

    Args:
        field: where the order was given, for errors.

    Raises:
        ValueError: a function fails, or its result is no order of an (H, W) map.
    """
    function = order_function(order, field)
    if _is_built_in(order):
        return function(H, W, device)
    index = _call(function, H, W, order, field)
    try:
        index = _as_tensor(index)
        problem = _problem(index, H * W)
    except (TypeError, ValueError, RuntimeError) as error:
        problem = f'no tensor ({error})'
    if problem is not None:
        raise _error(field, order, f'gives {problem} for a map of {H} x {W}; allowed: {_allowed_result(H, W)}')
    return index.to(device=device, dtype=torch.int32)


def _call(function: Callable, H: int, W: int, order: Order, field: str):
    if is_compiling():  # there a function may break the graph, which no `try` may hold
        return function(H, W)
    try:
        return function(H, W)
    except Exception as error:
        problem = f'fails on a map of {H} x {W} ({type(error).__name__}: {error})'
        allowed = f'a function (H, W) -> {_allowed_result(H, W)}'
        raise _error(field, order, f'{problem}; allowed: {allowed}') from error


def _allowed_result(H: int, W: int) -> str:
    return f'(S,) integers, the tokens 0 to {H * W - 1}, each at most once, and -1 for padding'


def _is_built_in(order: Order) -> bool:
    if not isinstance(order, str):
        return False
    base = order.removesuffix('_flip')
    return base in BUILT_IN or (base not in ORDERS and '.' not in base)  # of the others only windows remain


def _problem(index: Tensor, num_tokens: int) -> str | None:
    """What keeps `index` from being an order; its values are looked at where it has any that Python may see."""
    if index.ndim != 1 or index.shape[0] == 0:
        return f'a tensor of shape {tuple(index.shape)}'
    if index.is_floating_point() or index.is_complex() or index.dtype == torch.bool:
        return f'a tensor of {index.dtype}'
    if is_compiling() or is_tracing() or type(index) is not Tensor or index.is_meta:
        return None
    if index.min() < -1 or index.max() >= num_tokens:
        return f'tokens from {int(index.min())} to {int(index.max())}'
    counts = torch.bincount(index[index >= 0], minlength=1)
    return f'token {int(counts.argmax())} {int(counts.max())} times' if counts.max() > 1 else None


def _straight(names: Sequence[Order], H: int, W: int) -> tuple[int, ...]:
    """See `Orders`."""
    directions = 0
    for k, name in enumerate(names):
        if not isinstance(name, str) or k == MOST_STRAIGHT:
            return ()
        function = ORDERS.get(name.removesuffix('_flip'))
        if function not in (rows, columns):
            return ()
        directions |= ((function is columns) + 2 * name.endswith('_flip')) << 2 * k
    return H, W, directions


def _stack(each: Sequence[Tensor], num_tokens: int, straight: tuple[int, ...]) -> Orders:
    if not each:
        raise ValueError('orders: at least one scan order is needed')
    length = each[0].shape[0]
    if not is_compiling() and not is_tracing() and all(index.shape[0] == length for index in each):
        index = torch.stack(tuple(each))
        lengths = torch.full((len(each),), length, dtype=torch.int32, device=index.device)
        return Orders(index, lengths, num_tokens, straight)
    for index in each[1:]:
        length = largest(length, index.shape[0])
    index = torch.stack([F.pad(i, (0, length - i.shape[0]), value=-1) for i in each])
    lengths = [torch.full((), i.shape[0], dtype=torch.int32, device=index.device) for i in each]
    return Orders(index, torch.stack(lengths), num_tokens, straight)


def build(names: Sequence[Order], H: int, W: int, device=None, layer=None) -> Orders:
    """`orders` without the cache."""
    tables = [table(name, H, W, device, _place(layer, k)) for k, name in enumerate(names)]
    return _stack(tables, H * W, _straight(names, H, W))


def _place(layer, k: int) -> str:
    return '' if layer is None else f'{layer.order_field}[{k}]'


# Of index tables, on all devices together. A size of LocalVMamba-T near 800 x 1333 takes 3.2 MB, one of VMamba-T 1.4:
# even 120 sizes as large fit. A multi-scale schedule of 137 from 480 x 640 on takes about 240 MB.
CACHE_BYTES = 384 * 2**20


class _Cache:
    """Index tables, for several threads and up to `CACHE_BYTES`; those that were used longest ago go first.

    An entry counts as its tables and 4 kB for what holds them. Functions, of the user's or behind a name in `ORDERS`,
    are told apart by identity, and held, so that none can come back at another's address.
    """

    def __init__(self):
        self.bytes = 0
        self._entries: OrderedDict[tuple, tuple] = OrderedDict()
        self._lock = threading.Lock()
        if hasattr(os, 'register_at_fork'):  # the fork of a thread may fall into another's hold on the lock
            os.register_at_fork(after_in_child=self._renew_lock)

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()

    def get(self, orders: tuple[Order, ...], *place):
        """What was put for `orders` (one or several) at `place`, or None."""
        key = self._key(orders, self._functions(orders), place)
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def put(self, value: tuple | Tensor, orders: tuple[Order, ...], *place) -> None:
        tensors = [value] if isinstance(value, Tensor) else [part for part in value if isinstance(part, Tensor)]
        size = 4096 + sum(t.numel() * t.element_size() for t in tensors)
        functions = self._functions(orders)
        key = self._key(orders, functions, place)
        with self._lock:
            self._remove(key)
            self._entries[key] = value, functions, size
            self.bytes += size
            while self.bytes > CACHE_BYTES:
                self._remove(next(iter(self._entries)))

    def _remove(self, key: tuple) -> None:
        self.bytes -= self._entries.pop(key, (None, None, 0))[-1]

    @staticmethod
    def _functions(orders: tuple[Order, ...]) -> list[Callable | None]:
        return [ORDERS.get(o.removesuffix('_flip')) if isinstance(o, str) else o for o in orders]

    @staticmethod
    def _key(orders: tuple[Order, ...], functions: list, place: tuple) -> tuple:
        return *((o if isinstance(o, str) else None, id(f)) for o, f in zip(orders, functions)), *place


_cache = _Cache()
_maker: ContextVar[Callable[..., Orders] | None] = ContextVar('mmvssm_orders_made_by', default=None)


@contextmanager
def made_by(maker: Callable[..., Orders]) -> Iterator[None]:
    """Meanwhile, in this thread, `maker` answers :func:`orders`, with its arguments by position."""
    before = _maker.set(maker)
    try:
        yield
    finally:
        _maker.reset(before)


def orders(names: Sequence[Order], H: int, W: int, device=None, layer=None) -> Orders:
    """The index tables of `names` for an (H, W) map, on `device`.

    In eager mode tables are made once for a list of orders and remembered, within `CACHE_BYTES`; a function is called
    once for a size and device, and what it returns is checked then. While torch.compile, torch.export or
    torch.jit.trace trace, tables are made of torch operations, so that H and W may be symbolic. There a function is
    traced along; where it cannot be, it breaks the graph, or is a constant of one size if it is decorated with
    torch.compiler.assume_constant_result.

    Args:
        layer: an object whose `order_field` says where the orders were given, for errors (but not while compiling,
            where each layer would be a graph of its own for it).

    Raises:
        ValueError: no such order, or a function that fails or returns no order.
    """
    return derived(_themselves, names, H, W, device, layer)


def _themselves(orders: Orders, whole: bool) -> Orders:
    return orders


Derived = TypeVar('Derived', bound=tuple)


def derived(
    make: Callable[[Orders, bool], Derived], names: Sequence[Order], H: int, W: int, device=None, layer=None
) -> Derived:
    """What `make` makes of :func:`orders`, with their arguments, remembered as they are.

    Args:
        make: (orders, whole) -> a tuple of tensors and constants; `whole`: every order is known to read every token and
            to have no padding. A function of a module, by which the result is remembered.
    """
    if (maker := _maker.get()) is not None:
        return make(maker(names, H, W, device, layer), False)
    if is_compiling():
        return make(build(names, H, W, device), False)
    if is_tracing():
        return make(build(names, H, W, device, layer), False)
    with torch.inference_mode(False), torch._C._DisableFuncTorch():  # tables outlive that mode and any transform
        probe = torch.empty(0, device=device)
        if type(probe) is not Tensor:  # under a fake-tensor or similar mode; such tables must not outlive it
            return make(build(names, H, W, device, layer), False)
        names, device = tuple(names), probe.device
        found = _cache.get(names, make, H, W, device)
        if found is None:
            tables = [_remembered(name, H, W, device, _place(layer, k)) for k, name in enumerate(names)]
            found = make(_stack(tables, H * W, _straight(names, H, W)), _whole(names, H, W))
            _cache.put(found, names, make, H, W, device)
        return found


def _whole(names: Sequence[Order], H: int, W: int) -> bool:
    """See `derived`."""
    return bool(_straight(names, H, W)) or all(_fills(name, H, W) for name in names)


def _fills(name: Order, H: int, W: int) -> bool:
    if not isinstance(name, str) or not _is_built_in(name):
        return False
    base = name.removesuffix('_flip')
    if base[1:].isdecimal():
        return H % int(base[1:]) == W % int(base[1:]) == 0
    return ORDERS.get(base) in (rows, columns)


def _remembered(name: Order, H: int, W: int, device, field: str) -> Tensor:
    """The table of one order: a function's is kept, the built-in ones are made faster than they are kept."""
    if _is_built_in(name):
        return table(name, H, W, device, field)
    found = _cache.get((name,), H, W, device)
    if found is None:
        with torch.device('cpu'):  # where a function may make its table; its default device need not be ours
            found = table(name, H, W, device, field)
        _cache.put(found, (name,), H, W, device)
    return found


def _take(x: Tensor, index: Tensor, whole: bool = False) -> Tensor:
    """Entries `index` of dimension 1 of x (B, M, ...), 0 where it is M (never if `whole`): (B, *index.shape, ...)."""
    padded = x if whole else torch.cat([x, x.new_zeros(x.shape[0], 1, *x.shape[2:])], dim=1)
    return padded.index_select(1, index.reshape(-1)).view(x.shape[0], *index.shape, *x.shape[2:])


class Routes(NamedTuple):
    """Where tokens are at each step, and outputs at each token, for :func:`read_steps` and :func:`write_steps`.

    Attributes:
        tokens: (S, K) integers, the token read at each step; L, their number, at padding.
        places: (L, K) integers, where in S * K outputs, step by step, each order's is for each token; S * K where an
            order never reads it.
        whole: neither occurs.
    """

    tokens: Tensor
    places: Tensor
    whole: bool


def routes(orders: Orders, whole: bool = False) -> Routes:
    """The routes of `orders`; for :func:`derived`, which keeps them."""
    K, S = orders.index.shape
    index = orders.index
    tokens = index if whole else torch.where(index < 0, orders.num_tokens, index)
    tokens = tokens.t().contiguous()
    step = _inverse(orders).t()
    places = step * K + torch.arange(K, device=step.device)
    return Routes(tokens, torch.where(step == S, S * K, places).int(), whole)


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
    index = orders.index
    return _take(x, torch.where(index < 0, orders.num_tokens, index))


def read_steps(x: Tensor, routes: Routes) -> Tensor:
    """As `read`, step by step: (B, S, K, ...)."""
    return _take(x, routes.tokens, routes.whole)


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


def write_steps(y: Tensor, routes: Routes) -> Tensor:
    """As `write`, for outputs that lie step by step, y (B, S, K, ...): (B, L, K, ...)."""
    return _take(y.flatten(1, 2), routes.places, routes.whole)


def merge(y: Tensor, orders: Orders) -> Tensor:
    """Bring y (B, K, S, ...) back to token order and add the orders up: (B, L, ...)."""
    return write(y, orders).sum(1)
