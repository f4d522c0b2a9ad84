"""Pointing a config at a data set, and saying plainly what is wrong with one.

`point_to(cfg, folder)` rewrites the data parts of a config for a folder in one of the task's layouts, and the heads for
its classes. `check(cfg, ...)` looks at what the config names before anything is built.
"""

import os
import time
from pathlib import Path

from mmengine.config import Config

from mmvssm.demo import shapes
from mmvssm.openmmlab.layouts.layout import DataError, datasets
from mmvssm.openmmlab.tasks import Task, task_of

DEMO = Path('data/demo')


def point_to(cfg: Config, folder: str) -> None:
    """Make `cfg` read its data from `folder`; 'demo' stands for the embedded set, written to data/demo if need be.

    The folder is in a layout of the config's task (see `layouts`). Heads get the number of classes found.

    Raises:
        DataError: the folder holds no such data set.
    """
    root = _write_demo() if folder == 'demo' else Path(folder)
    if not root.is_dir():
        raise DataError(f'no data set: {root.absolute()} is not a folder (`--data demo` is the embedded one)')
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


def _write_demo() -> Path:
    """The embedded data set; with several processes the first one writes and the others wait."""
    if int(os.environ.get('RANK', 0)) == 0:
        return shapes.write(DEMO)
    while not shapes.is_complete(DEMO):
        time.sleep(0.5)
    return DEMO


def _require(task: Task, path: Path) -> None:
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        return
    raise DataError(
        f'the data set of this config is not there: looked for {path.absolute()}\n'
        f'get it from {task.how_to_get}\n'
        'or run the same config on the embedded data set with `--data demo`, on your own with `--data DIR`'
    )
