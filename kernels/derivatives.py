"""Derivatives of an operator beyond one backward pass: torch.func, forward mode and double backward.

torch.library's autograd is one backward pass in reverse mode: torch.func refuses it, and forward mode passes it by with
a tangent of zero. Each operator therefore has, besides its kernels, the same function in plain differentiable
operations, and hands both over as an :class:`Transformable`:

    grad, vjp, vmap of torch.func    the kernels, inside a Function that torch.func can work with
    forward mode, any composition    the plain form: torch differentiates it like anything else
    double backward                  the plain form, twice; made when it is asked for, nothing is kept for it
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd import forward_ad

from mmvssm.tracing import is_compiling, is_exporting

from .backend import no_autocast


@torch.compiler.assume_constant_result  # torch.compile guards on both
def transformed() -> bool:
    """Whether a transform of torch.func or a level of forward mode is at work."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


@torch.compiler.assume_constant_result
def forward_mode() -> bool:
    """Whether tensors may carry tangents (torch.func.jvp, jacfwd, hessian; dual numbers)."""
    return forward_ad._current_level >= 0


def pullback(function: Callable, cotangents, *primals: Tensor | None) -> tuple[Tensor | None, ...]:
    """Gradients of <cotangents, function(*primals)>, differentiable in everything; None for what is absent."""
    given = tuple(i for i, z in enumerate(primals) if z is not None)

    def product(*primals):
        pairs = zip(_tuple(function(*primals)), _tuple(cotangents))
        return sum((y * dy).sum() for y, dy in pairs if y is not None)

    with no_autocast(primals[0]):
        grads = dict(zip(given, torch.func.grad(product, argnums=given)(*primals)))
    return tuple(grads.get(i) for i in range(len(primals)))


def _tuple(y) -> tuple[Tensor | None, ...]:
    return (y,) if isinstance(y, Tensor) else tuple(y)


def differentiable_twice(y: Tensor, plain: Callable[..., Tensor], *tensors: Tensor | None) -> Tensor:
    """y, made from `tensors` by a fused operation whose backward pass torch cannot differentiate.

    A backward pass that is differentiated in turn goes through `plain`, the same function in operations that can be.
    Any other goes the way it went, and only `tensors` are kept, which the operation keeps as well.
    """
    if not torch.is_grad_enabled() or is_compiling() or is_exporting():
        return y
    return _Redirect.apply(plain, y, *tensors)


class _Redirect(torch.autograd.Function):
    @staticmethod
    def forward(ctx, plain: Callable[..., Tensor], y: Tensor, *tensors: Tensor | None) -> Tensor:
        ctx.plain = plain
        ctx.save_for_backward(*tensors)
        return y.view_as(y)

    @staticmethod
    def backward(ctx, dy: Tensor):
        tensors = ctx.saved_tensors
        if torch.is_grad_enabled() or transformed():
            return None, None, *pullback(ctx.plain, dy, *tensors)
        return None, dy, *[None] * len(tensors)


@dataclass(frozen=True, eq=False)
class Transformable:
    """A function of tensors, or None where one is absent, that has kernels for itself and for its gradient.

    Attributes:
        forward: (*tensors) -> y, without autograd.
        backward: (dy, *tensors) -> the gradients of `tensors`, without autograd; None for what is absent.
        plain: (*tensors) -> y in operations that torch differentiates.
        in_batch: which tensors have the batch in their first dim; y has. Batch elements do not touch each other.
    """

    forward: Callable[..., Tensor]
    backward: Callable[..., Sequence[Tensor | None]]
    plain: Callable[..., Tensor]
    in_batch: tuple[bool, ...]

    def __call__(self, *tensors: Tensor | None) -> Tensor:
        """y, inside whatever transforms are at work."""
        if is_compiling() or forward_mode():
            return self.plain(*tensors)
        return _Forward.apply(self, *tensors)

    def gradients(self, dy: Tensor, *tensors: Tensor | None) -> Sequence[Tensor | None]:
        """Gradients of `tensors`, inside whatever transforms are at work."""
        if is_compiling() or forward_mode():
            return self.plain_gradients(dy, *tensors)
        return _Backward.apply(self, dy, *tensors)

    def second_gradients(
        self, cotangents: Sequence[Tensor | None], dy: Tensor, *tensors: Tensor | None
    ) -> Sequence[Tensor | None]:
        """What `gradients(dy, *tensors)` hands back to dy and each of `tensors`."""
        return pullback(self.plain_gradients, tuple(cotangents), dy, *tensors)

    def plain_gradients(self, dy: Tensor, *tensors: Tensor | None) -> tuple[Tensor | None, ...]:
        """`gradients` without the kernels."""
        return pullback(self.plain, dy, *tensors)


class _Forward(torch.autograd.Function):
    """An operator under torch.func. Only its inputs are saved: the backward pass runs the forward kernel again."""

    @staticmethod
    def forward(operator: Transformable, *tensors: Tensor) -> Tensor:
        return operator.forward(*tensors)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.operator, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx, dy: Tensor):
        return None, *ctx.operator.gradients(dy, *ctx.saved_tensors)

    @staticmethod
    def vmap(info, in_dims, operator: Transformable, *tensors: Tensor):
        in_dims = in_dims[1:]
        if all(in_batch or dim is None for in_batch, dim in zip(operator.in_batch, in_dims)):
            batches = _join_batches(info.batch_size, in_dims, operator.in_batch, tensors)
            return _split_batch(_Forward.apply(operator, *batches), info.batch_size), 0
        each = (_Forward.apply(operator, *_element(tensors, in_dims, i)) for i in range(info.batch_size))
        return torch.stack(tuple(each)), 0


class _Backward(torch.autograd.Function):
    """The gradients of an operator under torch.func."""

    @staticmethod
    def forward(operator: Transformable, dy: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(operator.backward(dy, *tensors))

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.operator, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx, *cotangents: Tensor):
        return None, *ctx.operator.second_gradients(cotangents, *ctx.saved_tensors)

    @staticmethod
    def vmap(info, in_dims, operator: Transformable, *tensors: Tensor):
        in_dims, in_batch = in_dims[1:], (True, *operator.in_batch)
        if all(batch for batch, z in zip(in_batch, tensors) if z is not None):
            batches = _join_batches(info.batch_size, in_dims, in_batch, tensors)
            grads = [_split_batch(grad, info.batch_size) for grad in _Backward.apply(operator, *batches)]
        else:  # what has no batch dim gets a gradient for each element of the mapped one
            each = [_Backward.apply(operator, *_element(tensors, in_dims, i)) for i in range(info.batch_size)]
            grads = [None if grad[0] is None else torch.stack(grad) for grad in zip(*each)]
        return tuple(grads), (0,) * len(grads)


def _join_batches(size: int, dims, in_batch: Sequence[bool], tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The mapped dim made part of the batch of those tensors that have one; others are mapped in no dim."""

    def joined(z, dim):
        return (z.expand(size, *z.shape) if dim is None else z.movedim(dim, 0)).flatten(0, 1)

    return [joined(z, dim) if batch and z is not None else z for z, dim, batch in zip(tensors, dims, in_batch)]


def _split_batch(z: Tensor | None, size: int) -> Tensor | None:
    return None if z is None else z.unflatten(0, (size, z.shape[0] // size))


def _element(tensors: Sequence[Tensor | None], dims, i: int) -> list[Tensor | None]:
    return [z if z is None or dim is None else z.select(dim, i) for z, dim in zip(tensors, dims)]
