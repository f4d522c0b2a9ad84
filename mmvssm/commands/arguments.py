"""Flags that several commands have."""

import argparse


def add_config(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """`config`, required where there is no default, and `--cfg-options`."""
    parser.add_argument(
        'config',
        nargs=None if default is None else '?',
        default=default,
        help='path or name of a config, e.g. mask_rcnn_vmamba_t (`mmvssm config` lists them)'
        + ('' if default is None else ' (default: %(default)s)'),
    )
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--cfg-options`; see :func:`options`."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        metavar='KEY=VALUE',
        default=[],
        help='override settings, e.g. train_cfg.max_epochs=1 model.backbone.frozen_stages=1 key="[a,b]"',
    )


def options(given: list[str]) -> dict:
    """`--cfg-options` as mmengine reads them.

    Raises:
        UsageError: one of them is not KEY=VALUE, or its value has no end.
    """
    from mmengine.config import DictAction

    from mmvssm.errors import UsageError

    for one in given:
        key, equals, _ = one.partition('=')
        if not equals or not key.strip():
            raise UsageError(f'--cfg-options {one}: expected KEY=VALUE, as in train_cfg.max_epochs=1')
    parser = argparse.ArgumentParser(prog='mmvssm')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    try:
        return parser.parse_args(['--cfg-options', *given] if given else []).cfg_options
    except Exception as error:
        raise UsageError(f'--cfg-options {" ".join(given)}: {error}') from error


def add_data(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """`--data`."""
    parser.add_argument(
        '--data',
        metavar='DIR',
        default=default,
        help='read the data set in DIR (COCO, Roboflow, CVAT for detectors; ADE20K, VOC, Cityscapes, images and masks '
        'for segmentors; classes are taken from it), or an embedded one: "demo" or "shapes"'
        + ('' if default is None else ' (default: %(default)s)'),
    )


def add_looks(parser: argparse.ArgumentParser) -> None:
    """What to do about data sets that are not ready."""
    parser.add_argument(
        '--val-fraction',
        type=float,
        metavar='SHARE',
        help='hold this share of the images of --data out for validation, where it has no split; 0.2 is a fifth',
    )
    parser.add_argument(
        '--unreadable',
        choices=('stop', 'skip'),
        default='stop',
        help='images that cannot be read: stop the run, or skip them (default: %(default)s)',
    )
    parser.add_argument(
        '--check-data', action='store_true', help='only look at the data, tell what is in them, and end'
    )


def look(args: argparse.Namespace) -> None:
    """With `--check-data`, print all that is in the data set of `--data` and all that is odd about it.

    Raises:
        UsageError: `--val-fraction` without `--data`.
    """
    import contextlib
    from pathlib import Path

    from mmvssm import data, demo
    from mmvssm.errors import UsageError

    if args.val_fraction is not None and args.data is None:
        raise UsageError('--val-fraction splits the data set of --data DIR')
    if not args.check_data or args.data is None:
        return
    root = Path(demo.EMBEDDED[args.data].folder if args.data in demo.EMBEDDED else args.data)
    if args.data in demo.EMBEDDED:
        demo.EMBEDDED[args.data].write(root)
    with contextlib.suppress(UsageError):  # of a layout that the look before training knows, and tells of
        print(data.in_words(data.check(root)), end='\n\n')


def add_run(parser: argparse.ArgumentParser, work_dir: str | None = None) -> None:
    """Flags of training and testing: where to write (`work_dir` by default), how processes are started."""
    shown = work_dir or 'work_dirs/CONFIG'
    parser.add_argument('--work-dir', default=work_dir, help=f'folder for logs and checkpoints (default: {shown})')
    parser.add_argument('--verbose', action='store_true', help='print all that goes into the log file')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_coco_eval(parser: argparse.ArgumentParser) -> None:
    """`--coco-eval`."""
    parser.add_argument(
        '--coco-eval',
        choices=('pycocotools', 'faster'),
        help="what evaluates COCO's average precision: pycocotools, or faster-coco-eval, with the same result",
    )


def add_training(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """`--amp`, `--resume` and `--log`."""
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision (bfloat16 unless the config says otherwise)'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint; without a value, from the latest one in the work folder',
    )
    parser.add_argument(
        '--log',
        nargs='+',
        choices=('tensorboard', 'wandb', 'mlflow'),
        default=[],
        help='log to these too, in folders of the work folder (WandB offline, unless there is a key and a network)',
    )


def add_helps(parser: argparse.ArgumentParser) -> None:
    """What people expect of a training; see :func:`helps`."""
    group = parser.add_argument_group('what people expect of a training')
    group.add_argument(
        '--ema',
        nargs='?',
        type=float,
        const=0.0002,
        metavar='MOMENTUM',
        help='average the weights; the average is validated and saved (without a value: 0.0002)',
    )
    group.add_argument(
        '--early-stopping',
        type=int,
        metavar='N',
        help='end once N validations have not bettered the score of --save-best, which this implies',
    )
    group.add_argument(
        '--save-best',
        nargs='?',
        const='auto',
        metavar='SCORE',
        help='keep the checkpoint of the best score, too (without a value: box AP, mIoU or top-1 accuracy)',
    )
    group.add_argument('--accumulate', type=int, metavar='N', help='gather the gradients of N batches for each update')


def helps(args: argparse.Namespace):
    """What :func:`add_helps` was given, as `mmvssm.openmmlab.helps.Helps`."""
    from mmvssm.openmmlab.helps import Helps

    return Helps(args.ema, args.early_stopping, args.save_best, args.accumulate)


def add_device(parser: argparse.ArgumentParser) -> None:
    """`--device`; see :func:`device`."""
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: cuda where there is one)')


def device(given: str | None) -> str:
    """The device to use.

    Raises:
        UsageError: there is none of that name here.
    """
    import torch

    from mmvssm.errors import UsageError

    if given is None:
        return 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        torch.empty(1, device=given)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f'--device {given}: {str(error).splitlines()[0]}') from None
    return given


def seed() -> None:
    """Random weights are the same every time."""
    import torch

    torch.manual_seed(0)
