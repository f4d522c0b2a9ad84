"""The public mLSTM: checks, choice of the implementation, call."""

import torch
from torch import Tensor

from mmvssm.tracing import is_exporting

from ..backend import choose, no_autocast, run_or_fall_back, triton_kernels
from ..derivatives import transformed
from ..operators import OPERATORS, Implementation, Operator
from . import blocked, check
from .op import NAME, mlstm_op, mlstm_plain, mlstm_transformable
from .reference import mlstm_recurrent

OPERATORS[NAME] = Operator(
    NAME,
    (
        triton_kernels(str(__package__)),
        Implementation('blocked', load=lambda: blocked),
        Implementation('reference', function=mlstm_recurrent),
    ),
    check.errors,
)


def mlstm(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    igate: Tensor,
    fgate: Tensor,
    *,
    reverse: bool = False,
    chunk_size: int | None = None,
    eps: float = 1e-6,
    backend: str | None = None,
) -> Tensor:
    """Matrix LSTM with exponential input gate and sigmoid forget gate (xLSTM, arXiv 2405.04517, section 2.3).

        C_t = sigmoid(f_t) C_{t-1} + exp(i_t) k_t v_t^T        n_t = sigmoid(f_t) n_{t-1} + exp(i_t) k_t
        h_t = s q_t^T C_t / (max(|s q_t . n_t|, 1) + eps'),    s = dh**-0.5

    computed in units of exp(m_t), the largest exponent so far; `eps` is added in those units. Inside, at least float32;
    gates and stabilisers float64. Memory is linear in the length.

    Args:
        q, k: (b, S, heads, dh), any strides.
        v: as k, of one dtype with both.
        igate, fgate: (b, S, heads) pre-activations, any floating dtype.
        reverse: run from the last token to the first.
        chunk_size: tokens handled at once; None chooses by size. It changes speed and rounding only (`reference` has
            none).
        eps: added to the denominator.
        backend: 'reference', 'blocked', 'triton' or 'auto'; None is what `use_backend` or the environment variable
            MMVSSM_BACKEND say.

    Returns:
        (b, S, heads, dh) of q's dtype.

    Raises:
        ValueError: shapes or dtypes that do not fit together, an unknown backend, or one that cannot run here.
    """
    _check(q, k, v, igate, fgate, chunk_size)
    gradients = transformed() or (torch.is_grad_enabled() and any(z.requires_grad for z in (q, k, v, igate, fgate)))
    operator = OPERATORS[NAME]
    name = choose(operator, q, backend, gradients)
    tensors, options = (q, k, v, igate, fgate), (reverse, chunk_size, eps)
    plain = operator[name].function
    if plain is not None:
        with no_autocast(q):
            return plain(*tensors, reverse=reverse, eps=eps)
    if is_exporting():
        return mlstm_plain(*tensors, reverse=reverse, chunk_size=chunk_size, eps=eps)

    def run(name: str) -> Tensor:
        if transformed():
            return mlstm_transformable(*options, name)(*tensors)
        return mlstm_op(*tensors, *options, name)[0]

    return run_or_fall_back(operator, name, run)


def _check(q, k, v, igate, fgate, chunk_size) -> None:
    if q.dim() != 4:
        raise ValueError(f'q must be (b, S, heads, dh); got {tuple(q.shape)}')
    for field, tensor, shape in (
        ('k', k, q.shape),
        ('v', v, q.shape),
        ('igate', igate, q.shape[:3]),
        ('fgate', fgate, q.shape[:3]),
    ):
        if tensor.shape != shape:
            raise ValueError(f'{field} must have shape {tuple(shape)} beside q; got {tuple(tensor.shape)}')
    if not q.dtype == k.dtype == v.dtype or not q.is_floating_point():
        raise ValueError(f'q, k and v must have one floating dtype; got {q.dtype}, {k.dtype} and {v.dtype}')
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f'chunk_size={chunk_size} must be at least 1')
