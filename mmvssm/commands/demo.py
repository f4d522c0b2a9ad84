"""Train, evaluate and draw a small Mask R-CNN on 48 embedded pictures of cell nuclei, from scratch, in minutes."""

import argparse

from mmvssm import configs
from mmvssm.commands import arguments

CONFIG = 'demo/mask_rcnn_localvmamba_nuclei'
SHAPES = 'demo/mask_rcnn_localvmamba_demo'
COLUMNS = {'AP': '', 'AP50': '_50', 'AP75': '_75', 'AP small': '_s', 'AP medium': '_m'}
EXAMPLES = """examples:
  mmvssm demo
  mmvssm demo --data shapes                        # drawn shapes of four classes
  mmvssm demo demo/mask_rcnn_vmamba_nuclei         # another backbone"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of training, with defaults for config and data set."""
    parser.add_argument('config', nargs='?', help=f'config (default: {CONFIG}; for shapes {SHAPES})')
    arguments.add_options(parser)
    arguments.add_data(parser, default='demo')
    arguments.add_run(parser)


def run(args: argparse.Namespace) -> None:
    """Train, print the table, say where the pictures are and what to try next."""
    from mmvssm.openmmlab import console

    with console.calm(args.verbose):
        _demo(args)


def _demo(args: argparse.Namespace) -> None:
    import time

    from mmvssm.openmmlab import running, work_folder

    start = time.time()
    name = args.config or (SHAPES if args.data == 'shapes' else CONFIG)
    cfg = running.load_config(
        configs.find(name),
        splits=('train', 'val'),
        data_set=args.data,
        options=arguments.options(args.cfg_options),
        work_dir=args.work_dir,
        launcher=args.launcher,
    )
    print(f'training {name} on {args.data}: {cfg.train_cfg.max_epochs} epochs')
    with work_folder.locked_by_main(cfg.work_dir):
        runner = running.build_runner(cfg, strict=False)
        runner.train()
    found = {key: runner.message_hub.get_scalar(f'val/coco/{key}').current() for key in _keys()}
    print(table(found))
    print(closing(name, args.data, cfg.work_dir, _paths(runner)))
    print(f'all of it took {(time.time() - start) / 60:.1f} minutes')


def _keys() -> list[str]:
    return [f'{kind}_mAP{suffix}' for kind in ('bbox', 'segm') for suffix in COLUMNS.values()]


def table(found: dict[str, float]) -> str:
    """The AP table of a COCO evaluation: keys such as 'bbox_mAP_50'; - where there is no such object."""
    lines = ['      ' + ''.join(f'{name:>11}' for name in COLUMNS)]
    for title, kind in (('box', 'bbox'), ('mask', 'segm')):
        figures = [found[f'{kind}_mAP{suffix}'] for suffix in COLUMNS.values()]
        lines.append(f'{title:6}' + ''.join('          -' if ap < 0 else f'{ap:11.3f}' for ap in figures))
    return '\n'.join(lines)


def _paths(runner) -> str:
    """Draws the scan paths of the trained backbone; returns where."""
    from mmvssm.pictures import draw_layers, save

    return str(save(draw_layers(runner.model.backbone), f'{runner.work_dir}/scan_paths.png'))


def closing(config: str, data_set: str, work_dir: str, paths: str) -> str:
    """Where everything is, and commands to go on with."""
    images = f'data/{"nuclei" if data_set == "demo" else data_set}/images/validation'
    return f"""
held-out images, ground truth left, predictions right: {work_dir}/contact_sheet.png
the orders in which its layers read an image: {paths}
checkpoint and logs: {work_dir}
what to try next:
  mmvssm predict {work_dir} {images}
  mmvssm draw features {work_dir} IMAGE
  mmvssm app {work_dir}
  mmvssm draw curves {work_dir}
  mmvssm train {config} --data YOUR_IMAGES"""
