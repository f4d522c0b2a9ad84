"""What `tools/train.py` and `tools/test.py` share: flags, the config they lead to, errors in a line or two."""

import argparse
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmvssm.openmmlab import data, device
from mmvssm.openmmlab.tasks import UsageError, task_of
from mmvssm.weights import CheckpointError

DEBUG = 'MMVSSM_DEBUG'


def parser(description: str, config: str | None = None, data_set: str | None = None) -> argparse.ArgumentParser:
    """The flags that mmdet's and mmseg's tools have in common, and `--data`; with defaults for config and data set."""
    epilog = f'Errors in the input are told in a line or two; {DEBUG}=1 shows the traceback as well.'
    flags = argparse.ArgumentParser(description=description, epilog=epilog)
    flags.add_argument('config', help='config file', default=config, nargs=None if config is None else '?')
    flags.add_argument('--work-dir', help='folder for logs and checkpoints (default: work_dirs/CONFIG)')
    flags.add_argument(
        '--data',
        metavar='DIR',
        default=data_set,
        help="read the data set in DIR (COCO's layout for detectors, ADE20K's for segmentors; classes are taken "
        'from it), or "demo": the embedded one',
    )
    flags.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings, e.g. train_cfg.max_epochs=1 model.backbone.frozen_stages=1 key="[a,b]"',
    )
    flags.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    flags.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return flags


def load_config(args: argparse.Namespace, splits: tuple[str, ...]) -> Config:
    """The config as the flags change it, its data sets of `splits` looked at.

    Raises:
        UsageError, DataError: a missing config or data set.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if not Path(args.config).is_file():
        raise UsageError(f'there is no config {args.config}')
    cfg = Config.fromfile(args.config)
    cfg.launcher = args.launcher
    if args.data is not None:
        data.point_to(cfg, args.data)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'./work_dirs/{Path(args.config).stem}'
    if getattr(args, 'amp', False):
        device.use_amp(cfg)
    for change in device.fit_device(cfg):
        print_log(change, logger='current')
    for split in splits:
        data.check(cfg, split)
    return cfg


def build_runner(cfg: Config, strict: bool) -> Runner:
    """The runner of a config, an own `runner_type` included.

    strict: a checkpoint must fit the model to the last key; otherwise the heads may differ (fine-tuning).
    """
    hook = dict(type='mmvssm.StrictLoadHook', heads_may_differ=not strict)
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def draw_predictions(cfg: Config, args: argparse.Namespace) -> None:
    """`--show` and `--show-dir`, for mmdet's visualization hook and for mmseg's."""
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise UsageError('--show and --show-dir need default_hooks.visualization in the config')
    hook.update(draw=True, interval=1)  # upstream mmseg counts test images by the interval too
    if args.show:
        hook.update(show=True, wait_time=args.wait_time)
    if args.show_dir:
        task_of(cfg).show_in(cfg, args.show_dir)


def keep_predictions(cfg: Config, out: str) -> None:
    """`--out`."""
    task_of(cfg).keep_predictions(cfg, out)


def augment_tests(cfg: Config) -> None:
    """`--tta`: the config's `tta_model` and `tta_pipeline`, or the task's."""
    if 'mask_head' in cfg.model.get('roi_head', {}):
        raise UsageError('--tta: mmdet merges boxes, not masks; it cannot test a model with a mask head')
    if 'tta_model' not in cfg or 'tta_pipeline' not in cfg:
        task_of(cfg).augment_tests(cfg)
    cfg.model = dict(**cfg.tta_model, module=cfg.model)
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline


def short_errors(main: Callable[[], None]) -> Callable[[], None]:
    """Decorator of a tool's main: what the user can put right ends the program with a message, not a traceback."""

    @functools.wraps(main)
    def run() -> None:
        try:
            main()
        except (UsageError, data.DataError, CheckpointError, FileNotFoundError) as error:
            _leave(error)
        except (KeyError, TypeError, ValueError, AssertionError) as error:
            if not _from_config(error):
                raise
            _leave(error)

    return run


def _from_config(error: BaseException) -> bool:
    """Whether an error arose while a registry built something from the config, not while that ran."""
    trace, frames = error.__traceback__, []
    while trace is not None:
        frames.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    return 'build_from_cfg' in frames or 'fromfile' in frames or 'merge_from_dict' in frames


def _leave(error: BaseException) -> None:
    if os.environ.get(DEBUG):
        raise error
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    sys.exit(f'error: {text}')
