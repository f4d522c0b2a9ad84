"""The public selective scan: checks, choice of the implementation, call."""

from importlib import import_module

import torch
from torch import Tensor

from mmvssm.scans import Orders

from ..backend import choose, no_autocast, run_or_fall_back, triton_kernels
from ..derivatives import transformed
from ..operators import OPERATORS, Implementation, Operator
from . import check
from .blocked import selective_scan_blocked
from .op import NAME, scan_transformable, selective_scan_op
from .reference import selective_scan_reference


def _no_numba(x: Tensor) -> str:
    on = x.device.type  # on the meta device only the operation's fake kernel runs
    return '' if on in ('cpu', 'meta') else f'numba runs on the CPU, x is on {on}'


OPERATORS[NAME] = Operator(
    NAME,
    (
        triton_kernels(str(__package__)),
        Implementation(
            'numba',
            load=lambda: import_module('.numba_launch', __package__),
            compiled=True,
            fastest_on=('cpu', 'meta'),
            why_not=_no_numba,
        ),
        Implementation('blocked', function=selective_scan_blocked),
        Implementation('reference', function=selective_scan_reference),
    ),
    check.errors,
)


def selective_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    dt_bias: Tensor | None = None,
    *,
    dt_weight: Tensor | None = None,
    orders: Orders | None = None,
    softplus: bool = True,
    merge: bool = True,
    out_dtype: torch.dtype | None = None,
    backend: str | None = None,
) -> Tensor:
    """Selective scan (S6) of one feature map along K orders, all directions fused.

        delta = softplus(dt @ dt_weight^T + dt_bias)
        h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t,    y_t = <C_t, h_t> + D u_t

    State, softplus, exp and sums are float32 whatever the inputs are (float64 when x is). Any strides are accepted.

    Args:
        x: (b, L, d), tokens in raster order, shared by the K directions; or (b, L, K, d), one input each.
        dt: (b, L, K, R), low rank, together with dt_weight; or expanded, (b, L, K, d).
        A: (K, d, N), negative; N from 1 to 64.
        B, C: (b, L, K, N).
        D, dt_bias: (K, d) or None.
        dt_weight: (K, d, R) or None.
        orders: index tables of `mmvssm.scans.orders`; None reads tokens 0 .. L-1 in every direction. A padded step has
            u = dt = B = C = 0: it decays the state by softplus(dt_bias); its output is dropped.
        softplus: False takes dt + dt_bias itself as delta.
        merge: True returns the sum over directions in token order, False every direction's output.
        out_dtype: dtype of the result, x's by default.
        backend: 'reference', 'blocked', 'numba', 'triton' or 'auto'; None is what `use_backend` or the environment
            variable MMVSSM_BACKEND say.

    Returns:
        (b, L, d) if merge, else (b, L, K, d). Tokens that an order never reads get 0 from it.

    Raises:
        ValueError: shapes that do not fit together, an unknown backend, or one that cannot run here.
    """
    _check(x, dt, A, B, C, D, dt_bias, dt_weight, orders)
    tensors = (x, dt, A, B, C, D, dt_bias, dt_weight)
    save = torch.is_grad_enabled() and any(z is not None and z.requires_grad for z in tensors)
    operator = OPERATORS[NAME]
    name = choose(operator, x, backend, save or transformed())
    if orders is None:
        orders = _raster(x.shape[1], A.shape[0], x.device)
    out_dtype = x.dtype if out_dtype is None else out_dtype

    def run(name: str) -> Tensor:
        plain = operator[name].function
        if plain is not None:
            with no_autocast(x):
                return plain(*tensors, orders, softplus, merge, out_dtype)
        if transformed():
            return scan_transformable(orders, softplus, merge, out_dtype, name)(*tensors)
        tables = orders.index, orders.lengths, orders.straight
        return selective_scan_op(*tensors, *tables, softplus, merge, out_dtype, save, name)[0]

    return run_or_fall_back(operator, name, run)


def _raster(L: int, K: int, device) -> Orders:
    index = torch.arange(L, dtype=torch.int32, device=device).expand(K, L)
    return Orders(index, torch.full((K,), L, dtype=torch.int32, device=device), L)


def _check(x, dt, A, B, C, D, dt_bias, dt_weight, orders) -> None:
    if x.dim() not in (3, 4) or A.dim() != 3:
        raise ValueError(
            f'x must be (b, L, d) or (b, L, K, d) and A (K, d, N); got {tuple(x.shape)} and {tuple(A.shape)}'
        )
    b, L, d = x.shape[0], x.shape[1], x.shape[-1]
    K, N = A.shape[0], A.shape[2]
    rank = d if dt_weight is None else dt_weight.shape[-1]
    wanted = {
        'x': (x, (b, L, d) if x.dim() == 3 else (b, L, K, d)),
        'dt': (dt, (b, L, K, rank)),
        'A': (A, (K, d, N)),
        'B': (B, (b, L, K, N)),
        'C': (C, (b, L, K, N)),
        'D': (D, (K, d)),
        'dt_bias': (dt_bias, (K, d)),
        'dt_weight': (dt_weight, (K, d, rank)),
    }
    for field, (tensor, shape) in wanted.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f'{field} must have shape {shape} beside x {tuple(x.shape)}; got {tuple(tensor.shape)}')
    if not 1 <= N <= 64:
        raise ValueError(f'A has d_state {N}; allowed: 1 to 64')
    if orders is not None and (orders.index.shape[0] != K or orders.num_tokens != L):
        raise ValueError(
            f'orders hold {orders.index.shape[0]} orders of {orders.num_tokens} tokens; x and A need {K} of {L}'
        )
