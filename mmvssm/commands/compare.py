"""Training runs beside each other: scores, speed and curves, and the settings in which they differ.

A run is known by its work folder, whatever trained it with mmengine. The starts of a resumed run are joined.
"""

import argparse

from mmvssm.errors import UsageError

EXAMPLES = """examples:
  mmvssm compare work_dirs/ONE work_dirs/OTHER
  mmvssm compare work_dirs/*                                    # all of them; what is no run is told, and left out
  mmvssm compare work_dirs/* --show loss bbox_mAP_50 -o ap50.png
  mmvssm compare work_dirs/ONE/20261127_093000 work_dirs/ONE    # one start of a run beside the whole

All that is known of the runs is in a JSON file beside the picture: curves, settings, versions."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Runs, and where to write."""
    parser.add_argument('runs', nargs='+', metavar='RUN', help='work folder, or a pattern of them')
    parser.add_argument('--show', nargs='+', default=[], metavar='NAME', help='curves and metrics, e.g. loss_mask mAcc')
    parser.add_argument(
        '-o', '--out', default='compare.png', metavar='FILE', help='picture of curves (default: %(default)s)'
    )
    parser.add_argument('--json', metavar='FILE', help='everything (default: beside the picture, .json)')


def run(args: argparse.Namespace) -> None:
    """Print the tables, write the files."""
    import json
    import sys
    from pathlib import Path

    try:
        from mmvssm.pictures import draw_curves, figure, save
    except ImportError:
        raise UsageError('comparing runs needs matplotlib: pip install matplotlib') from None
    from mmvssm.openmmlab import comparing

    if not args.out.lower().endswith(figure.SUFFIXES):
        raise UsageError(f'-o {args.out}: the name of a picture ends with {", ".join(figure.SUFFIXES)}')
    found, others = comparing.read(args.runs)
    for line in others:
        print(f'left out: {line}', file=sys.stderr)
    scores = comparing.main_scores(found, args.show)
    picture = draw_curves(
        {name: one.curves for name, one in found.items()},
        comparing.curves_to_draw(found, scores, args.show),
        over='iteration',
    )
    print(comparing.table(found, scores))
    differing = comparing.differences(found)
    if len(found) > 1:
        print(f'\n{comparing.differences_in_words(found, differing)}')
    target = Path(args.json or Path(args.out).with_suffix('.json'))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(comparing.as_json(found, differing), indent=1, allow_nan=False), encoding='utf-8')
    print(f'\n{save(picture, args.out)}\n{target}')
