"""What the norms share: an operator that keeps its inputs alone for its gradient, its call and its derivatives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmvssm.tracing import is_exporting

from .backend import choose, no_autocast, run_or_fall_back
from .derivatives import Transformable, transformed
from .operators import OPERATORS


@dataclass(frozen=True, eq=False)
class Norm:
    """An operator of tensors, or None where one is absent, and of `eps` and `out_dtype`.

    Attributes:
        name: in `OPERATORS`.
        op: (*tensors, eps, out_dtype, backend) -> y, of torch.library.
        backward_op: (dy, *tensors, eps, backend) -> the gradients of `tensors`, of torch.library; anything for what is
            absent.
        blocked: (*tensors, eps, out_dtype) -> y, in plain PyTorch.
        in_batch: see :class:`Transformable`.
    """

    name: str
    op: Callable
    backward_op: Callable
    blocked: Callable[..., Tensor]
    in_batch: tuple[bool, ...]

    def __call__(
        self, tensors: Sequence[Tensor | None], eps: float, out_dtype: torch.dtype, backend: str | None
    ) -> Tensor:
        """The operator by `backend`, inside whatever transforms are at work; the first tensor is there."""
        first, operator = tensors[0], OPERATORS[self.name]
        assert first is not None
        wanted = torch.is_grad_enabled() and any(z is not None and z.requires_grad for z in tensors)

        def run(name: str) -> Tensor:
            plain = self.blocked if is_exporting() else operator[name].function
            if plain is not None:
                with no_autocast(first):
                    return plain(*tensors, eps, out_dtype)
            if transformed():
                return self.transformable(eps, out_dtype, name)(*tensors)
            return self.op(*tensors, eps, out_dtype, name)

        return run_or_fall_back(operator, choose(operator, first, backend, transformed() or wanted), run)

    def transformable(self, eps: float, out_dtype: torch.dtype, backend: str) -> Transformable:
        """The operator of its tensors for `derivatives`."""

        def plain(*tensors):
            with no_autocast(tensors[0]):
                return self.blocked(*tensors, eps, out_dtype)

        def backward(dy, *tensors):
            grads = self.backward_op(dy, *tensors, eps, backend)
            return [None if z is None else grad for z, grad in zip(tensors, grads)]

        return Transformable(
            forward=lambda *tensors: self.op(*tensors, eps, out_dtype, backend),
            backward=backward,
            plain=plain,
            in_batch=self.in_batch,
        )

    def register_autograd(self) -> None:
        """Tell torch the first and second derivatives of its operator."""
        self.op.register_autograd(self._backward, setup_context=_setup)  # type: ignore[attr-defined]
        self.backward_op.register_autograd(self._second_gradients, setup_context=_setup_second)  # type: ignore[attr-defined]

    def _backward(self, ctx, dy):
        eps, out_dtype, backend = ctx.options

        def run(name: str):
            whole = self.transformable(eps, out_dtype, name)
            if OPERATORS[self.name][name].load is None:
                return whole.plain_gradients(dy, *ctx.saved_tensors)
            gradients = whole.gradients if transformed() else whole.backward
            return gradients(dy, *ctx.saved_tensors)

        return *run_or_fall_back(OPERATORS[self.name], backend, run), None, None, None

    def _second_gradients(self, ctx, *cotangents):
        dy, *tensors = ctx.saved_tensors
        whole = self.transformable(ctx.eps, dy.dtype, ctx.backend)
        return *whole.second_gradients(cotangents, dy, *tensors), None, None


def _setup(ctx, inputs, output) -> None:
    *tensors, eps, out_dtype, backend = inputs
    ctx.save_for_backward(*tensors)
    ctx.options = (eps, out_dtype, backend)


def _setup_second(ctx, inputs, output) -> None:
    *tensors, ctx.eps, ctx.backend = inputs
    ctx.save_for_backward(*tensors)


def shared_out(length: int, tile: int, programs: int) -> tuple[int, int]:
    """How many of at most `programs` share `length` tokens in whole tiles, and how many tokens each has."""
    parts = max(1, min(-(-length // tile), programs))
    each = -(-length // (parts * tile)) * tile
    return -(-length // each), each
