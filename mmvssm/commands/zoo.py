"""Search the published models: by task, size, accuracy and licence."""

import argparse

TASKS = {'imagenet': 'top1', 'coco': 'box_AP', 'ade20k': 'mIoU'}  # and the figure that sorts a table
EXAMPLES = """examples:
  mmvssm zoo --task coco --max-params 60 --sort metric
  mmvssm zoo vmamba --task ade20k --min 48
  mmvssm zoo --license MIT --weights
  mmvssm zoo --models 'vil*'                       # variants, with or without published weights

The name in the first column goes into `mmvssm predict`, `mmvssm test`, `mmvssm profile`, `mmvssm weights fetch`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Filters."""
    parser.add_argument('family', nargs='?', default='', help='beginning of the name: vmamba, vil2, localvmamba, ...')
    parser.add_argument('--task', choices=list(TASKS), help='imagenet (classification), coco (detection), ade20k')
    parser.add_argument('--min', type=float, metavar='X', help='lowest top-1, box AP or mIoU')
    parser.add_argument('--max-params', type=float, metavar='MILLION', help='largest model')
    parser.add_argument('--license', metavar='TEXT', help='part of the licence, e.g. MIT, Apache')
    parser.add_argument('--weights', action='store_true', help='only those whose weights were published')
    parser.add_argument('--sort', choices=('name', 'metric', 'params', 'flops'), default='name')
    parser.add_argument('--models', metavar='PATTERN', nargs='?', const='*', help='list the variants instead')
    parser.add_argument('--json', action='store_true', help='records for programs')


def run(args: argparse.Namespace) -> None:
    """Print the table."""
    import json

    from mmvssm.weights import catalogue

    if args.models:
        _list_models(args.models)
        return
    found = catalogue.search(
        args.family,
        task=args.task,
        lowest=args.min,
        max_params=args.max_params,
        license=args.license,
        weights=args.weights,
        sort=args.sort,
    )
    print(json.dumps([catalogue.as_dict(one) for one in found], indent=1) if args.json else catalogue.listing(found))


def _list_models(pattern: str) -> None:
    import mmvssm
    from mmvssm import weights

    for name in mmvssm.list_models(pattern):
        if not name.startswith('test_'):
            print(f'{name:32}{weights.state(name)}')
