"""What a layout is; what layouts share: the data sets in a config, and the number of classes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from mmvssm.errors import UsageError

SPLIT_NAMES = {
    'train': ('train2017', 'train', 'training', 'train2014'),
    'val': ('val2017', 'val', 'validation', 'valid', 'val2014', 'test'),
}


class DataError(UsageError):
    """A data set is missing or broken; the message has a few lines at most."""


@dataclass(frozen=True)
class Layout:
    """A way in which a data set lies in a folder.

    Attributes:
        wanted: how it lies in the folder, for errors.
        find: folder -> the data set's own folder (it, or one in it), None where it is of another layout.
        point_to: (config, that folder): make a config read its data from there, its heads fit the classes; a DataError
            where something is missing.
    """

    wanted: str
    find: Callable[[Path], Path | None]
    point_to: Callable[[Config, Path], None]


def datasets(cfg: Config, split: str) -> Iterator[ConfigDict]:
    """The innermost data sets of a split, through RepeatDataset, ConcatDataset and the like."""
    loader = cfg.get(f'{split}_dataloader')
    waiting = [loader.dataset] if loader else []
    while waiting:
        dataset = waiting.pop()
        inner = dataset.get('datasets') or ([dataset.dataset] if 'dataset' in dataset else None)
        if inner is None:
            yield dataset
        else:
            waiting += inner


def evaluators(cfg: Config, split: str) -> list[ConfigDict]:
    """Those of a split, of which a config may name one or a list."""
    found = cfg.get(f'{split}_evaluator') or []
    return found if isinstance(found, list) else [found]


def set_num_classes(model: Any, number: int, stuff: int = 0) -> None:
    """Write a number of classes wherever a model config counts them; objects are things, and beside them is `stuff`.

    Heads in lists, heads of two kinds of classes (`num_things_classes`, `num_stuff_classes`) and weights of classes in
    a list, whose last is that of no object, are among them. A backbone's classes are its own.
    """
    before = _counted(model)
    _set_num_classes(model, number, stuff, before)


def _counted(node: Any) -> set[int]:
    """The numbers of classes that a model config names."""
    if isinstance(node, list | tuple):
        return set().union(*map(_counted, node))
    if not isinstance(node, dict):
        return set()
    own = {node[key] for key in ('num_classes',) if isinstance(node.get(key), int)}
    things, stuff = node.get('num_things_classes'), node.get('num_stuff_classes')
    if isinstance(things, int) and isinstance(stuff, int):
        own.add(things + stuff)
    return own.union(*(_counted(value) for key, value in node.items() if key != 'backbone'))


def _set_num_classes(node: Any, number: int, stuff: int, before: set[int]) -> None:
    if isinstance(node, list | tuple):
        for value in node:
            _set_num_classes(value, number, stuff, before)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key in ('num_classes', 'num_things_classes'):
            node[key] = number
        elif key == 'num_stuff_classes':
            node[key] = stuff
        elif key == 'class_weight' and isinstance(value, list | tuple):
            node[key] = _weights(list(value), number + stuff, before)
        elif key != 'backbone':
            _set_num_classes(value, number, stuff, before)


def _weights(weights: list, number: int, before: set[int]) -> list:
    """One for each class, and one for no object where there was one; those that were alike stay what they were."""
    with_none = len(weights) - 1 in before
    own = weights[:-1] if with_none else weights
    if len(own) != number:
        own = [own[0] if len(set(own)) == 1 else 1.0] * number
    return [*own, weights[-1]] if with_none else own
