"""Which parameters of a config's model are trained how: learning rate, weight decay, or not at all."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config
from mmengine.optim import OptimWrapperDict
from mmengine.registry import init_default_scope
from torch import nn

from mmvssm.errors import UsageError
from mmvssm.openmmlab import console
from mmvssm.openmmlab.preflight import parts


@dataclass(frozen=True)
class Group:
    """Parameters that are trained alike.

    Attributes:
        lr_mult: their learning rate, as a multiple of the optimizer's; 0 where they are frozen.
        weight_decay: of the optimizer, not a multiple.
        names: of the parameters, in the model's order.
        parameters: how many numbers they hold.
    """

    lr_mult: float
    weight_decay: float
    names: tuple[str, ...]
    parameters: int


def groups(cfg: Config) -> list[Group]:
    """The parameter groups of a config's optimizer, those of equal settings as one, by rising learning rate.

    The model is built on the meta device: no memory, no weights. Parameters that the optimizer does not have, or that
    need no gradient, are a group with the learning rate 0.

    Raises:
        UsageError: the config has no `optim_wrapper`; model or optimizer cannot be built from it; there are several
            optimizers.
    """
    if not cfg.get('optim_wrapper'):
        raise UsageError('the config has no optim_wrapper: nothing is trained')
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    with console.silent():
        model = parts.build_model(cfg)
        if model is None:
            raise UsageError('the model of this config cannot be built on the meta device')
        wrapper = parts.build_optimizer(cfg, model)
    if isinstance(wrapper, OptimWrapperDict):
        raise UsageError('the config has several optimizers, which are not told apart here')
    return _sorted_by_setting(model, wrapper.optimizer, cfg.optim_wrapper.optimizer.get('lr'))


def _sorted_by_setting(model: nn.Module, optimizer: Any, lr: float | None) -> list[Group]:
    base = lr or max(_rate(group) for group in optimizer.param_groups) or 1.0
    settings = {
        id(parameter): (_rate(group) / base, float(group.get('weight_decay', 0.0)))
        for group in optimizer.param_groups
        for parameter in group['params']
    }
    found: dict[tuple[float, float], list[tuple[str, int]]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        trained = parameter.requires_grad and id(parameter) in settings
        found[settings[id(parameter)] if trained else (0.0, 0.0)].append((name, parameter.numel()))
    return [
        Group(*setting, tuple(name for name, _ in members), sum(count for _, count in members))
        for setting, members in sorted(found.items())
    ]


def _rate(group: dict[str, Any]) -> float:
    """Of a parameter group, before any warm-up."""
    return float(group.get('initial_lr', group['lr']))


def in_words(found: Sequence[Group]) -> str:
    """A line a group, with names of some of its parameters, and the sum."""
    head = ('group', 'lr x', 'weight decay', 'tensors', 'parameters', 'such as')
    rows = [head, *_rows(found)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head) - 1)]
    lines = ['  '.join([*(cell.rjust(width) for cell, width in zip(row, widths)), row[-1]]) for row in rows]
    trained = sum(group.parameters for group in found if group.lr_mult)
    whole = sum(group.parameters for group in found)
    return '\n'.join([*lines, f'{whole:,} parameters, {trained:,} of them trained'])


def _rows(found: Sequence[Group]) -> Iterator[tuple[str, ...]]:
    for i, group in enumerate(found):
        rate = f'{group.lr_mult:.4g}' if group.lr_mult else 'frozen'
        decay = f'{group.weight_decay:.4g}' if group.lr_mult else '-'
        yield str(i), rate, decay, str(len(group.names)), f'{group.parameters:,}', ', '.join(_examples(group.names))


def _examples(names: Sequence[str]) -> list[str]:
    """The first and the last."""
    return [names[0], names[-1]] if len(names) > 1 else list(names)
