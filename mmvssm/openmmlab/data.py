"""Pointing a config at a data set, and saying plainly what is wrong with one.

`point_to(cfg, folder)` rewrites the data parts of a config for a folder in one of the task's layouts, and the heads for
its classes. `check(cfg, ...)` looks at what the config names before anything is built.
"""

import os
import time
from pathlib import Path

from mmengine.config import Config

from mmvssm import demo
from mmvssm.openmmlab.layouts.layout import DataError, datasets
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
    missing = ', '.join(layout.missing for layout in layouts)
    raise DataError(f'no data set in {root.absolute()}: {missing}')


def check(cfg: Config, split: str) -> None:
    """Look at the files that the dataloader of `split` ('train', 'val' or 'test') names.

    Raises:
        DataError: where it was looked for, how to get the data set and how to do without; or what is broken.
    """
    task = task_of(cfg)
    for dataset in datasets(cfg, split):
        for layout in task.layouts:
            files = layout.files(dataset)
            for path in files:
                _require(task, path)
            if files:
                layout.check(cfg, dataset)
                break


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
        'or run the same config on the embedded images with `--data demo`, on your own with `--data DIR`'
    )
