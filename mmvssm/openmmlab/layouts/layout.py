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
        missing: what a folder of another layout lacks, for errors.
        find: folder -> the data set's own folder (it, or one in it), None where it is of another layout.
        point_to: (config, that folder): make a config read its data from there, its heads fit the classes; a DataError
            where something is missing.
        files: a data set of a config -> the files and folders that it reads, none where it is of another layout.
        check: (config, data set): a DataError where these files are broken.
    """

    missing: str
    find: Callable[[Path], Path | None]
    point_to: Callable[[Config, Path], None]
    files: Callable[[ConfigDict], list[Path]]
    check: Callable[[Config, ConfigDict], None]


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


def set_num_classes(node: Any, number: int) -> None:
    """Sets every `num_classes` of a model config, heads in lists included."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == 'num_classes':
                node[key] = number
            else:
                set_num_classes(value, number)
    elif isinstance(node, list | tuple):
        for value in node:
            set_num_classes(value, number)
