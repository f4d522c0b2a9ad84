"""`make demo`: a Mask R-CNN with a small LocalVMamba, from scratch to pictures, in minutes on two CPU cores."""

import time

from mmvssm.openmmlab import cli

CONFIG = 'configs/demo/mask_rcnn_localvmamba_demo.py'
COLUMNS = {'AP': '', 'AP50': '_50', 'AP75': '_75', 'AP small': '_s', 'AP medium': '_m'}


@cli.short_errors
def main() -> None:
    args = cli.parser(
        'Train, evaluate and draw a small detector on the embedded data set.', CONFIG, 'demo'
    ).parse_args()
    start = time.time()
    cfg = cli.load_config(args, splits=('train', 'val'))
    print(f'training {args.config} on {cfg.train_dataloader.dataset.data_root}: {cfg.train_cfg.max_epochs} epochs')
    runner = cli.build_runner(cfg, strict=False)
    runner.train()
    found = {key: runner.message_hub.get_scalar(f'val/coco/{key}').current() for key in _keys()}
    print(table(found))
    print(
        f'held-out images with boxes and masks, ground truth left, predictions right: {cfg.work_dir}/contact_sheet.png'
    )
    print(f'checkpoint and logs: {cfg.work_dir}; all of it took {(time.time() - start) / 60:.1f} minutes')


def _keys() -> list[str]:
    return [f'{kind}_mAP{suffix}' for kind in ('bbox', 'segm') for suffix in COLUMNS.values()]


def table(found: dict[str, float]) -> str:
    """The AP table of a COCO evaluation: keys such as 'bbox_mAP_50'."""
    lines = ['      ' + ''.join(f'{name:>11}' for name in COLUMNS)]
    for title, kind in (('box', 'bbox'), ('mask', 'segm')):
        lines.append(f'{title:6}' + ''.join(f'{found[f"{kind}_mAP{suffix}"]:11.3f}' for suffix in COLUMNS.values()))
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
