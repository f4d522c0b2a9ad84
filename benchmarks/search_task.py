"""Does a search pay on a real task? Equal training, from scratch, for every way to come by directions.

python -m benchmarks.search_task FOLDER [--config NAME] [--data DIR] [--seeds 3] [--randoms 5] [--cfg-options K=V ...]

A row a training, as it ends, then means, lowest and highest; FOLDER keeps what is done, so that the same command goes
on where it was stopped. The config is one of a LocalVMamba with five layers, as those in configs/demo are.
"""

import argparse
import random
from collections import defaultdict
from pathlib import Path
from statistics import mean

from benchmarks.trainings import run, scores
from mmvssm import directions, scans
from mmvssm.backbones.localvmamba import TINY_DIRECTIONS

LAYERS = (0, 2, 4, 8, 13)  # of LocalVMamba-T, for the five of the demo's models: one of stages 1, 2, 4, two of 3


def lists_of(seed: int, randoms: int) -> dict[str, list[list[str]]]:
    """Directions that cost no search."""
    drawn = random.Random(seed)
    lists = {
        'published': [TINY_DIRECTIONS[i] for i in LAYERS],
        'h h_flip v v_flip': [list(scans.LOCAL_SCAN[:4])] * len(LAYERS),
    }
    for i in range(randoms):
        lists[f'random {seed}.{i}'] = [drawn.sample(scans.LOCAL_SCAN, 4) for _ in LAYERS]
    return lists


def compare(seed: int, args: argparse.Namespace, rows: dict[str, list[dict[str, float]]]) -> None:
    """One seed: a search, and a training for every list."""
    search = args.folder / f'search_{seed}'
    given = ['--data', args.data, '--cfg-options', f'randomness.seed={seed}', *args.cfg_options]
    cost = run('search', args.config, search, '--logit-lr', '10', '--no-logit-decay', *given)
    lists = {'searched': directions.read(search / 'directions.json').lists, **lists_of(seed, args.randoms)}
    for name, own in lists.items():
        folder = args.folder / f'{name.replace(" ", "_")}_{seed}'
        folder.mkdir(parents=True, exist_ok=True)
        directions.write(folder / 'directions.json', directions.from_lists(own, scans.LOCAL_SCAN))
        seconds = run('train', args.config, folder, *given, f'model.backbone.directions={folder / "directions.json"}')
        row = scores(folder)
        rows['random' if name.startswith('random') else name].append(row)
        extra = f' + {cost:.0f} s of search' if name == 'searched' else ''
        figures = '  '.join(f'{metric} {value:.3f}' for metric, value in row.items())
        print(f'seed {seed}  {name:18} {figures}  {seconds:.0f} s{extra}', flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--config', default='demo/mask_rcnn_localvmamba_nuclei')
    parser.add_argument('--data', default='demo')
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--randoms', type=int, default=5)
    parser.add_argument('--cfg-options', nargs='+', default=[], help='of all trainings and searches')
    args = parser.parse_args()
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for seed in range(args.seeds):
        compare(seed, args, rows)
    for name, own in rows.items():
        for metric in own[0]:
            values = [row[metric] for row in own]
            print(f'{name:18} {len(own):2} x {metric:14} {mean(values):.3f} ({min(values):.3f} to {max(values):.3f})')


if __name__ == '__main__':
    main()
