"""Runs of mmengine's Runner: the config that a command leads to, and the runner of it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmengine.visualization import Visualizer

from mmvssm import demo
from mmvssm.data import in_short
from mmvssm.errors import UsageError
from mmvssm.openmmlab import config_files, console, data, device, fitting, loggers, preflight, work_folder
from mmvssm.openmmlab.tasks import task_of


def set_local_rank(rank: int) -> None:
    """What older launchers say by a flag and mmengine reads from the environment."""
    os.environ.setdefault('LOCAL_RANK', str(rank))


def load_config(
    path: Path,
    *,
    splits: tuple[str, ...],
    data_set: str | None = None,
    options: dict | None = None,
    work_dir: str | None = None,
    amp: bool = False,
    launcher: str = 'none',
    val_fraction: float | None = None,
    unreadable: str = 'stop',
    prepare: Callable[[Config], None] | None = None,
) -> Config:
    """A config as a command changes it, its data sets looked at.

    Args:
        path: the config file.
        splits: 'train', 'val', 'test': the data sets that have to be there.
        data_set: a folder, or the name of an embedded data set, to read in place of the config's; see `data.point_to`.
        options: settings to override, keys with dots.
        work_dir: where logs and checkpoints go; work_dirs/CONFIG by default.
        amp: mixed precision.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
        val_fraction: of the images of `data_set`, which has no split, to hold out; a seeded choice.
        unreadable: 'stop' at images that cannot be read, or 'skip' them.
        prepare: changes the config before it is looked at.

    Raises:
        UsageError, DataError: a missing config or data set, a setting that cannot be.
    """
    cfg = config_files.read(path)
    loggers.forget(cfg)
    cfg.launcher = launcher
    cfg.work_dir = work_dir or cfg.get('work_dir') or f'./work_dirs/{path.stem}'
    if Path(cfg.work_dir).is_file():
        raise UsageError(f'--work-dir {cfg.work_dir} is a file, where a folder is wanted')
    if data_set is not None:
        if val_fraction is not None:
            data_set = data.split(data_set, val_fraction, Path(cfg.work_dir))
        data.point_to(cfg, data_set)
        if data_set in demo.EMBEDDED and (fitted := fitting.fit_to_embedded(cfg, path)):
            console.tell(f'--data {data_set}: {fitted}')
    config_files.override(cfg, options or {})
    if work_dir is not None:
        cfg.work_dir = work_dir
    if prepare is not None:
        prepare(cfg)
    if amp:
        device.use_amp(cfg)
    for change in device.fit_device(cfg):
        console.tell(change)
    preflight.check(cfg, training='train' in splits)
    for split in splits:
        console.tell(f'{split}: {in_short(data.check(cfg, split, unreadable))}')
    return cfg


def train(cfg: Config, resume: str | None) -> None:
    """Run a config's training, alone in its work folder.

    resume: a checkpoint to go on from, 'auto' for the latest in the work folder, None for what the config says.
    """
    if resume is not None:
        cfg.resume = True
        cfg.load_from = None if resume == 'auto' else resume
    with work_folder.locked_by_main(cfg.work_dir):
        build_runner(cfg, strict=cfg.get('resume', False)).train()


def _forget_visualizers(cls: Any) -> None:
    """Those of earlier runs in this process: mmengine hands them out by name, and the latest to hooks of any run."""
    vars(cls)['_instance_dict'].clear()
    for own in cls.__subclasses__():
        _forget_visualizers(own)


def build_runner(cfg: Config, strict: bool) -> Runner:
    """The runner of a config, an own `runner_type` included.

    strict: a checkpoint must fit the model to the last key; otherwise the heads may differ (fine-tuning).
    """
    own = [dict(type='mmvssm.StrictLoadHook', heads_may_differ=not strict), dict(type='mmvssm.StartLineHook')]
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), *own]
    _forget_visualizers(Visualizer)
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def draw_predictions(cfg: Config, folder: str | None = None, window_seconds: float | None = None) -> None:
    """Paint predictions of a test into a folder, or show each in a window for so long.

    Raises:
        UsageError: the config has no visualization hook.
    """
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise UsageError('--show and --show-dir need default_hooks.visualization in the config')
    hook.update(draw=True, interval=1)  # upstream mmseg counts test images by the interval too
    if window_seconds is not None:
        hook.update(show=True, wait_time=window_seconds)
    if folder is not None:
        task_of(cfg).show_in(cfg, folder)


def keep_predictions(cfg: Config, out: str) -> None:
    """`--out`."""
    task_of(cfg).keep_predictions(cfg, out)


def augment_tests(cfg: Config) -> None:
    """`--tta`: the config's `tta_model` and `tta_pipeline`, or the task's."""
    task_of(cfg).augment_tests(cfg)
    cfg.model = dict(**cfg.tta_model, module=cfg.model)
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
