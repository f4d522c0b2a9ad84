"""Does a search pay on a real task? The nuclei of the demo, equal training for every way to come by directions.

python -m benchmarks.search_task FOLDER [--seeds 2] [--randoms 2] [--epochs 2]

A row a training, as it ends; FOLDER keeps what is done, so that the same command goes on where it was stopped.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path

from mmvssm import directions, scans
from mmvssm.backbones.localvmamba import TINY_DIRECTIONS

CONFIG = 'demo/mask_rcnn_localvmamba_nuclei'
LAYERS = (0, 2, 4, 8, 13)  # of LocalVMamba-T, for the five layers of the demo's model: one of stages 1, 2, 4, two of 3


def lists_of(seed: int, randoms: int) -> dict[str, list[list[str]]]:
    """Directions that cost no search."""
    drawn = random.Random(seed)
    lists = {
        'published (LocalVMamba-T)': [TINY_DIRECTIONS[i] for i in LAYERS],
        'h h_flip v v_flip': [list(scans.LOCAL_SCAN[:4])] * len(LAYERS),
    }
    for i in range(randoms):
        lists[f'random {seed}.{i}'] = [drawn.sample(scans.LOCAL_SCAN, 4) for _ in LAYERS]
    return lists


def run(command: str, folder: Path, seed: int, epochs: int, *more: str, options: tuple[str, ...] = ()) -> float:
    """Run a command of mmvssm unless its folder says that it has been; returns seconds."""
    done = folder / 'seconds'
    if not done.exists():
        start = time.perf_counter()
        given = [f'randomness.seed={seed}', f'train_cfg.max_epochs={epochs}', f'train_cfg.val_interval={epochs}']
        given += ['train_dataloader.batch_size=4', 'train_dataloader.dataset.times=10', *options]
        line = [sys.executable, '-m', 'mmvssm.commands', command, CONFIG, '--data', 'demo', '--work-dir', str(folder)]
        subprocess.run([*line, *more, '--cfg-options', *given], check=True, stdout=subprocess.DEVNULL)
        done.write_text(str(time.perf_counter() - start))
    return float(done.read_text())


def scores(folder: Path) -> tuple[float, float]:
    """Box and mask AP of the last validation."""
    lines = [json.loads(line) for path in folder.glob('*/vis_data/scalars.json') for line in path.open()]
    last = [line for line in lines if 'coco/bbox_mAP' in line][-1]
    return last['coco/bbox_mAP'], last['coco/segm_mAP']


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--seeds', type=int, default=2)
    parser.add_argument('--randoms', type=int, default=2)
    parser.add_argument('--epochs', type=int, default=2)
    args = parser.parse_args()
    for seed in range(args.seeds):
        search = args.folder / f'search_{seed}'
        cost = run('search', search, seed, args.epochs, '--logit-lr', '10', '--no-logit-decay')
        lists = {'searched': directions.read(search / 'directions.json').lists, **lists_of(seed, args.randoms)}
        for name, own in lists.items():
            folder = args.folder / f'{name.split(" (")[0].replace(" ", "_")}_{seed}'
            folder.mkdir(parents=True, exist_ok=True)
            directions.write(folder / 'directions.json', directions.from_lists(own, scans.LOCAL_SCAN))
            path = f'model.backbone.directions={folder / "directions.json"}'
            seconds = run('train', folder, seed, args.epochs, options=(path,))
            box, mask = scores(folder)
            extra = f' + {cost:.0f} s of search' if name == 'searched' else ''
            print(f'seed {seed}  {name:28} box AP {box:.3f}  mask AP {mask:.3f}  {seconds:.0f} s{extra}', flush=True)


if __name__ == '__main__':
    main()
