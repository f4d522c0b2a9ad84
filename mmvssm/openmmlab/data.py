"""Pointing a config at a data set, and saying plainly what is wrong with one.

`point_to(cfg, folder)` rewrites the data parts of a config for a folder in one of the task's layouts, and the heads for
its classes. `check(cfg, ...)` looks at what the config names before anything is built.
"""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope

from mmvssm import demo
from mmvssm.data import split as split_data
from mmvssm.data.check import Report
from mmvssm.openmmlab import console
from mmvssm.openmmlab.layouts.layout import DataError, datasets
from mmvssm.openmmlab.look import look_for
from mmvssm.openmmlab.tasks import Task, task_of


def point_to(cfg: Config, folder: str) -> None:
    """Make `cfg` read its data from `folder`, which is in a layout of its task (see `layouts`).

    The names of `demo.EMBEDDED` stand for embedded data sets, written to data/ if need be. Heads get the number of
    classes found.

    Raises:
        DataError: the folder holds no such data set.
    """
    root = _embedded(folder) if folder in demo.EMBEDDED else Path(folder)
    if not root.is_dir():
        raise DataError(f'no data set: {root.absolute()} is not a folder (`--data demo` is an embedded one)')
    layouts = task_of(cfg).layouts
    for layout in layouts:
        if (own := layout.find(root)) is not None:
            return layout.point_to(cfg, own)
    wanted = '; '.join(layout.wanted for layout in layouts)
    help_with_labels = (
        '`mmvssm data convert` makes these out of YOLO, VOC, LabelMe or masks; docs/your_data.md shows each'
    )
    raise DataError(
        f'no data set in {root.absolute()}: it holds {_content(root)}\nwanted: {wanted}'
        + ('' if task_of(cfg).labels == 'none' else f'\n{help_with_labels}')
    )


def split(folder: str, fraction: float, work_dir: Path) -> str:
    """A data set without a split, split by a seeded choice, in a folder beside the run; a run that goes on finds it.

    Raises:
        UsageError: it is split already, or no data set.
    """
    out = work_dir / f'data-split-{fraction}'
    if int(os.environ.get('RANK', 0)) == 0 and not out.is_dir():
        making = out.with_name(f'.{out.name}')
        shutil.rmtree(making, ignore_errors=True)
        parts = split_data(Path(folder), making, val=fraction)
        making.rename(out)
        console.tell(f'{folder}: {parts["train"]} images to train on, {parts["val"]} held out, in {out}')
    while not out.is_dir():
        time.sleep(0.5)
    return str(out)


def check(cfg: Config, split: str, unreadable: str = 'stop') -> Report:
    """Look at the files that the dataloader of `split` ('train', 'val' or 'test') names.

    Args:
        cfg: the config; a data set that could be put right reads a copy of its annotations then, which is told.
        split: which data sets.
        unreadable: 'stop' at images that cannot be read, or 'skip' them.

    Raises:
        DataError: where it was looked for, how to get the data set and how to do without; or what is broken.
    """
    task, report = task_of(cfg), Report(Path(), task_of(cfg).labels)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    for dataset in datasets(cfg, split):
        for path in _files(dataset):
            _require(task, path)
        if (look := look_for(dataset)) is not None:
            for line in look(cfg, dataset, split, unreadable, report):
                console.tell(line)
    return report


def _content(root: Path) -> str:
    names = sorted(f'{path.name}/' if path.is_dir() else path.name for path in root.iterdir())
    return ', '.join(names[:4]) + (f' and {len(names) - 4} more' if len(names) > 4 else '') or 'nothing'


def _files(dataset: ConfigDict) -> Iterator[Path]:
    """The files and folders that a data set names."""
    root, prefix = dataset.get('data_root') or '', dataset.get('data_prefix') or {}
    listed = dataset.get('ann_file')
    if isinstance(listed, str) and listed:
        yield Path(root, listed)
    if isinstance(dataset.get('root'), str):
        yield Path(dataset.root)
    for key in ('img', 'img_path', 'seg_map_path', 'seg'):
        if isinstance(prefix.get(key), str):
            yield Path(root, prefix[key])


def _embedded(name: str) -> Path:
    """An embedded data set; with several processes the first one writes and the others wait."""
    data_set = demo.EMBEDDED[name]
    if int(os.environ.get('RANK', 0)) == 0:
        return data_set.write(data_set.folder)
    while not data_set.is_complete(data_set.folder):
        time.sleep(0.5)
    return Path(data_set.folder)


def _require(task: Task, path: Path) -> None:
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        return
    raise DataError(
        f'the data set of this config is not there: looked for {path.absolute()}\n'
        f'get it from {task.how_to_get}\n'
        f'or run the same config {"on the embedded images with `--data demo`, " if task.embedded else ""}on your own '
        'with `--data DIR`'
    )
