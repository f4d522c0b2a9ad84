"""Train a detector or a segmentor: `python tools/train.py CONFIG [--data DIR] [...]`; the flags of mmdet and mmseg."""

from mmvssm.openmmlab import cli


def parse_args():
    flags = cli.parser('Train a detector or a segmentor.')
    flags.add_argument('--amp', action='store_true', help='mixed precision (bfloat16 unless the config says otherwise)')
    flags.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate with the batch size')
    flags.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint; without a value, from the latest one in the work folder',
    )
    return flags.parse_args()


@cli.short_errors
def main() -> None:
    args = parse_args()
    cfg = cli.load_config(args, splits=('train', 'val'))
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise cli.UsageError('--auto-scale-lr needs auto_scale_lr.base_batch_size in the config')
        cfg.auto_scale_lr.enable = True
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    cli.build_runner(cfg, strict=cfg.get('resume', False)).train()


if __name__ == '__main__':
    main()
