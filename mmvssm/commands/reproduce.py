"""Test published detectors and segmentors, and print what was published beside what is measured.

Each is fetched, loaded to the last key into its config, and tested on the validation set of COCO or ADE20K. One that
fails leaves the others; the same command goes on where it was stopped.
"""

import argparse

from mmvssm.commands import arguments

EXAMPLES = """examples:
  mmvssm reproduce vmamba_tiny_s1l8.mask_rcnn_1x_coco
  mmvssm reproduce 'vmamba_*ade20k*' --tta --ade20k /data/ADEChallengeData2016
  mmvssm reproduce --all --dry-run                 # what would be fetched, and tested on what
  mmvssm reproduce --all --cfg-options test_dataloader.dataset.indices=100      # a first look

The table is in WORK_DIR/reproduced.md, with all metrics in reproduced.json."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which models, on which data."""
    parser.add_argument(
        'names', nargs='*', help="published checkpoints or patterns such as 'vmamba_tiny*' (`mmvssm zoo --weights`)"
    )
    parser.add_argument('--all', action='store_true', help='all published detectors and segmentors')
    parser.add_argument('--coco', metavar='DIR', help="COCO's folder (default: that of the configs, data/coco)")
    parser.add_argument('--ade20k', metavar='DIR', help="ADE20K's (default: that of the configs, data/ade/...)")
    parser.add_argument('--tta', action='store_true', help='multi-scale figures too, where there are any')
    parser.add_argument('--force', action='store_true', help='test again what has been tested')
    parser.add_argument('--dry-run', action='store_true', help='only say what would be done')
    arguments.add_options(parser)
    arguments.add_run(parser, work_dir='work_dirs/reproduce')


def run(args: argparse.Namespace) -> None:
    """Test them, and print the table; status 1 where one failed."""
    import sys
    from pathlib import Path

    from mmvssm.errors import UsageError
    from mmvssm.openmmlab import console, evaluating, reproducing, running

    if bool(args.names) == args.all:
        raise UsageError('which models? Give names or patterns, or --all; `mmvssm zoo --weights` lists them')
    records = reproducing.named(args.names or ['*'])
    data = {task: folder for task, folder in (('coco', args.coco), ('ade20k', args.ade20k)) if folder is not None}
    if args.dry_run:
        _list(records, data)
        return
    running.set_local_rank(args.local_rank)
    folder, settings = Path(args.work_dir), dict(options=arguments.options(args.cfg_options), launcher=args.launcher)
    done = []
    with console.calm(args.verbose):
        for one in reproducing.reproduce(records, folder, data, tta=args.tta, force=args.force, **settings):
            console.tell(f'{one.name}: {one.error}\n' if one.error else f'{evaluating.in_words(one)}\n')
            done.append(one)
    console.tell(f'{evaluating.markdown(done)}\nkept in {folder / reproducing.TABLE}')
    if any(one.error for one in done):
        sys.exit(1)


def _list(records: list, data: dict[str, str]) -> None:
    from mmvssm import configs
    from mmvssm.weights.download import cache_path

    for record in records:
        file = cache_path(record.url)
        print(
            f'{record.name}: config {configs.find(record.config).stem}, data {data.get(record.task, "of the config")}'
        )
        print(f'  in the cache: {file}' if file.is_file() else f'  to fetch: {record.url}')
