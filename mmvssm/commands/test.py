"""Evaluate a detector or a segmentor on a data set, with mmdet's and mmseg's flags."""

import argparse
from typing import TYPE_CHECKING

from mmvssm.commands import arguments

if TYPE_CHECKING:
    from mmengine.config import Config

EXAMPLES = """examples:
  mmvssm test mask_rcnn_vmamba_t work_dirs/mask_rcnn_vmamba_t/epoch_12.pth
  mmvssm test vmamba_tiny_s1l8.mask_rcnn_1x_coco              # a published checkpoint in its config, on data/coco
  mmvssm test CONFIG CHECKPOINT --data DIR --show-dir pictures
  mmvssm test CONFIG CHECKPOINT --tta --classwise --coco-eval faster"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of mmdet's and mmseg's test tools, and `--data`."""
    arguments.add_config(parser)
    parser.add_argument(
        'checkpoint', nargs='?', help='checkpoint file or URL (default: the published one of a config or name)'
    )
    arguments.add_data(parser)
    arguments.add_run(parser)
    parser.add_argument('--out', help='keep predictions: a .pkl file for detectors, a folder of PNGs for segmentors')
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument('--show-dir', help='paint predictions into this folder (WORK_DIR/TIMESTAMP/ if relative)')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds between shown pictures')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation: several sizes and mirror images')
    parser.add_argument('--classwise', action='store_true', help='a table of each class, which segmentors always have')
    arguments.add_coco_eval(parser)


def run(args: argparse.Namespace) -> None:
    """Test."""
    from mmvssm.openmmlab import console

    with console.calm(args.verbose, tables=True):
        _test(args)


def _test(args: argparse.Namespace) -> None:
    from mmvssm import targets
    from mmvssm.openmmlab import coco_metric, console, evaluating, running

    running.set_local_rank(args.local_rank)
    found = evaluating.evaluate(
        targets.whole_model(args.config, args.checkpoint),
        tta=args.tta,
        finish=lambda cfg: _keep(cfg, args),
        data_set=args.data,
        options=arguments.options(args.cfg_options),
        work_dir=args.work_dir,
        launcher=args.launcher,
        prepare=lambda cfg: coco_metric.choose(cfg, ('test',), args.coco_eval, args.classwise),
    )
    if words := '' if found.own and args.data is not None else evaluating.in_words(found):
        console.tell(words)


def _keep(cfg: 'Config', args: argparse.Namespace) -> None:
    """What `--show`, `--show-dir` and `--out` ask for."""
    from mmvssm.openmmlab import running

    if args.show or args.show_dir:
        running.draw_predictions(cfg, args.show_dir, args.wait_time if args.show else None)
    if args.out is not None:
        running.keep_predictions(cfg, args.out)
