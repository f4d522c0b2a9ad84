"""Check, split or convert a data set."""

import argparse

EXAMPLES = """examples:
  mmvssm data check data/coco
  mmvssm data split MY_IMAGES --out data/mine --val 0.2
  mmvssm data convert YOLO_FOLDER --from yolo --out data/mine_coco
  mmvssm data convert data/coco --to labels --out data/mine_labels      # for segmentors

`mmvssm train CONFIG --data DIR` takes COCO's layout for detectors, label images for segmentors."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command each."""
    commands = parser.add_subparsers(dest='command', required=True, metavar='check|split|convert')
    add = commands.add_parser('check', help='what it holds, what is odd about it; status 1 if that stops training')
    add.add_argument('folder')
    add.add_argument('--json', action='store_true', help='for programs')
    add = commands.add_parser('split', help='a seeded split of one set into training and validation')
    add.add_argument('folder')
    add.add_argument('--out', required=True, metavar='DIR', help='folder to write')
    add.add_argument('--val', type=float, default=0.2, help='share for validation (default: %(default)s)')
    add.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    add = commands.add_parser('convert', help='YOLO, VOC, LabelMe or masks to COCO; COCO to label images')
    add.add_argument('folder')
    add.add_argument('--from', dest='kind', choices=('yolo', 'voc', 'labelme', 'masks', 'coco'), default='coco')
    add.add_argument('--to', choices=('coco', 'labels'), default='coco')
    add.add_argument('--classes', nargs='+', metavar='NAME', help='names, where the source has none')
    add.add_argument('--out', required=True, metavar='DIR', help='folder to write')


def run(args: argparse.Namespace) -> None:
    """The sub-command."""
    globals()[f'_{args.command}'](args)


def _check(args: argparse.Namespace) -> None:
    import dataclasses
    import json
    import sys
    from pathlib import Path

    from tqdm import tqdm

    from mmvssm import data

    with tqdm(unit='image', disable=None) as bar:
        report = data.check(Path(args.folder), bar.update)
    if args.json:
        content = dataclasses.asdict(report)
        content['sizes'] = {f'{width}x{height}': count for (width, height), count in report.sizes.items()}
        print(json.dumps({**content, 'fatal': sorted(report.fatal)}, default=str, indent=1))
    else:
        print(data.in_words(report))
    if report.fatal:
        sys.exit(1)


def _split(args: argparse.Namespace) -> None:
    from pathlib import Path

    from mmvssm import data

    parts = data.split(Path(args.folder), Path(args.out), val=args.val, seed=args.seed)
    print(', '.join(f'{count} images for {name}' for name, count in parts.items()))
    print(f'train on it: mmvssm train CONFIG --data {args.out}')


def _convert(args: argparse.Namespace) -> None:
    from pathlib import Path

    from mmvssm import data
    from mmvssm.errors import UsageError

    source, out = Path(args.folder), Path(args.out)
    if args.to == 'labels':
        if args.kind != 'coco':
            raise UsageError(f'--to labels takes COCO: convert --from {args.kind} to coco first')
        made = data.to_labels(source, out)
    elif args.kind == 'coco':
        raise UsageError('say what it is: --from yolo, voc, labelme or masks')
    else:
        made = data.to_coco(source, out, kind=args.kind, classes=args.classes)
    print(f'{args.out}: ' + ', '.join(f'{count} {what}' for what, count in made.items()))
