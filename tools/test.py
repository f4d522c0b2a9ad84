"""Evaluate a detector or a segmentor: `python tools/test.py CONFIG CHECKPOINT [...]`; the flags of mmdet and mmseg."""

from mmvssm.openmmlab import cli


def parse_args():
    flags = cli.parser('Evaluate a detector or a segmentor.')
    flags.add_argument('checkpoint', help='checkpoint file or URL')
    flags.add_argument('--out', help='keep predictions: a .pkl file for detectors, a folder of PNGs for segmentors')
    flags.add_argument('--show', action='store_true', help='show predictions in a window')
    flags.add_argument('--show-dir', help='paint predictions into this folder (WORK_DIR/TIMESTAMP/ if relative)')
    flags.add_argument('--wait-time', type=float, default=2, help='seconds between shown pictures')
    flags.add_argument('--tta', action='store_true', help='test-time augmentation')
    return flags.parse_args()


@cli.short_errors
def main() -> None:
    args = parse_args()
    cfg = cli.load_config(args, splits=('test',))
    cfg.load_from, cfg.resume = args.checkpoint, False
    if args.show or args.show_dir:
        cli.draw_predictions(cfg, args)
    if args.tta:
        cli.augment_tests(cfg)
    if args.out is not None:
        cli.keep_predictions(cfg, args.out)
    cli.build_runner(cfg, strict=True).test()


if __name__ == '__main__':
    main()
