"""Train a detector or a segmentor, with mmdet's and mmseg's flags; the config says which."""

import argparse
from typing import TYPE_CHECKING

from mmvssm import configs
from mmvssm.commands import arguments
from mmvssm.errors import UsageError

if TYPE_CHECKING:
    from mmengine.config import Config

EXAMPLES = """examples:
  mmvssm train demo/mask_rcnn_vmamba_nuclei --data demo       # embedded images, minutes on a laptop
  mmvssm train mask_rcnn_vmamba_t                             # COCO in data/coco
  mmvssm train mask_rcnn_localvmamba_t --data MY_IMAGES       # your own, classes are taken from it
  mmvssm train upernet_vmamba_t --amp --resume
  mmvssm train upernet_vmamba_t --ema --early-stopping 5 --accumulate 4 --log tensorboard
  torchrun --nproc_per_node 8 -m mmvssm.commands train mask_rcnn_vmamba_t --launcher pytorch"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of mmdet's and mmseg's train tools, and `--data`."""
    arguments.add_config(parser)
    arguments.add_data(parser)
    arguments.add_looks(parser)
    arguments.add_run(parser)
    arguments.add_training(parser)
    arguments.add_helps(parser)
    arguments.add_coco_eval(parser)
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate with the batch size')


def run(args: argparse.Namespace) -> None:
    """Train."""
    from mmvssm.openmmlab import console, running

    running.set_local_rank(args.local_rank)
    with console.calm(args.verbose):
        cfg = _config(args)
        if args.check_data:
            return
        running.train(cfg, args.resume)


def _config(args: argparse.Namespace) -> 'Config':
    from mmvssm.openmmlab import coco_metric, helps, loggers, running

    def prepare(cfg: 'Config') -> None:
        coco_metric.choose(cfg, ('val',), args.coco_eval)
        helps.add(cfg, arguments.helps(args))
        loggers.add(cfg, args.log, resume=args.resume is not None or cfg.get('resume', False))

    if args.auto_scale_lr and args.accumulate:
        raise UsageError(
            '--auto-scale-lr counts the images that are seen at once, not those that --accumulate gathers: give one of '
            'them, and optim_wrapper.optimizer.lr'
        )
    arguments.look(args)
    cfg = running.load_config(
        configs.find(args.config),
        splits=('train', 'val'),
        data_set=args.data,
        options=arguments.options(args.cfg_options),
        work_dir=args.work_dir,
        amp=args.amp,
        launcher=args.launcher,
        val_fraction=args.val_fraction,
        unreadable=args.unreadable,
        prepare=prepare,
    )
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise UsageError('--auto-scale-lr needs auto_scale_lr.base_batch_size in the config')
        cfg.auto_scale_lr.enable = True
    return cfg
