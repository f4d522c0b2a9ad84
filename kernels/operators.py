"""What operators there are, and which implementations each has.

An operator is a folder with the same files as every other: `function.py` (the public function, and the operator's table
of implementations), `op.py` (what torch sees: the operation with its gradient), `reference.py` (the definition),
`blocked.py` (plain PyTorch at a sensible speed), and files of compiled kernels called by their backend, `numba_*.py`,
`triton_*.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType

import torch
from torch import Tensor

Errors = Callable[[ModuleType, torch.device, torch.dtype, bool], dict[str, float]]


def runs_everywhere(tensor: Tensor) -> str:
    """The `why_not` of what runs on any tensor."""
    return ''


@dataclass(frozen=True)
class Implementation:
    """One way to compute an operator.

    Attributes:
        name: what `backend=` calls it.
        function: plain PyTorch, which torch differentiates; arguments as the operator's `blocked` takes them. None for
            one behind the operation of `op.py`.
        load: imports the module of kernels that is behind the operation, with functions `forward` and `backward`.
        compiled: kernels, which are checked at their first use (see `self_check`) and may be missing.
        fastest_on: device types on which `auto` takes it.
        why_not: tensor -> why it cannot run on such a tensor, '' where it can.
    """

    name: str
    function: Callable[..., Tensor] | None = None
    load: Callable[[], ModuleType] | None = None
    compiled: bool = False
    fastest_on: tuple[str, ...] = ()
    why_not: Callable[[Tensor], str] = runs_everywhere


@dataclass(frozen=True)
class Operator:
    """An operator and its table.

    Attributes:
        name: as in messages.
        implementations: the compiled ones first, then the plain ones, the best of which stands in for all others.
        errors: (module, device, dtype, gradients) -> relative RMS error of each result of a tiny problem, by name; for
            the self-check of compiled implementations.
    """

    name: str
    implementations: tuple[Implementation, ...]
    errors: Errors | None = None

    def __getitem__(self, name: str) -> Implementation:
        return next(each for each in self.implementations if each.name == name)

    def kernels(self, backend: str) -> ModuleType:
        """The module behind the operation of `op.py`, imported on first use."""
        load = self[backend].load
        assert load is not None, f'{self.name} has no kernels of {backend}'
        return load()

    @property
    def plain(self) -> str:
        """The plain implementation that others fall back to."""
        return next(each.name for each in self.implementations if not each.compiled)


OPERATORS: dict[str, Operator] = {}


def backend_names() -> tuple[str, ...]:
    """All that `backend=` may be, over all operators."""
    names = [each.name for operator in OPERATORS.values() for each in reversed(operator.implementations)]
    return ('auto', *dict.fromkeys(names))


class register:
    """Add an implementation in plain PyTorch to an operator, for good or as a context manager: a peer to compare with.

    Args:
        operator: 'selective_scan', 'mlstm', 'spectral_filter', 'causal_conv', 'pooled_norm' or 'gated_norm'.
        name: what `backend=` will call it; `auto` never takes it.
        function: takes what the operator's `blocked.py` takes, and is differentiable.

    Raises:
        ValueError: no such operator, or it has an implementation of that name.
    """

    def __init__(self, operator: str, name: str, function: Callable[..., Tensor]):
        if operator not in OPERATORS:
            raise ValueError(f'operator={operator!r} is not known; allowed: {", ".join(OPERATORS)}')
        self._before = known = OPERATORS[operator]
        if name == 'auto' or name in [each.name for each in known.implementations]:
            raise ValueError(f'name={name!r}: {operator} has an implementation of that name')
        own = Implementation(name, function=function)
        OPERATORS[operator] = replace(known, implementations=(*known.implementations, own))

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc) -> None:
        OPERATORS[self._before.name] = self._before
