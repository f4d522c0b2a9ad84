"""Does distillation pay? A detector in equal time, from scratch and after some of it was given to distillation.

python -m benchmarks.distill_task FOLDER --teacher CHECKPOINT [--iterations 240] [--shares 0.25 0.5] [--seeds 2]
    [--labelled 48]

Time is the processor's, and counted in iterations of the detector's training: how many of distillation one is worth is
measured first, in short and long runs of the two by turns. A row a training, then means. FOLDER keeps what is done, so
that the same command goes on where it was stopped. The configs are those of the demo.
"""

import argparse
from collections import defaultdict
from pathlib import Path
from statistics import mean

from benchmarks.trainings import run, scores

DETECTOR, DISTILLATION = 'demo/mask_rcnn_vmamba_nuclei', 'demo/distill_vmamba_nuclei'
IMAGES, BATCH = 48, 8  # of the detector
TURNS, SHORT, LONG = 2, 24, 72


def detect(folder: Path, iterations: int, seed: int, labelled: int, *more: str) -> float:
    """Train the detector on the first `labelled` images; returns seconds."""
    times = round(iterations * BATCH / labelled)
    options = [f'train_dataloader.dataset.times={times}', f'train_dataloader.dataset.dataset.indices={labelled}']
    options += ['param_scheduler.1.end=1']
    options += ['train_cfg.max_epochs=1', 'train_cfg.val_interval=1', 'default_hooks.checkpoint.interval=1']
    given = ['--data', 'demo', '--cfg-options', f'randomness.seed={seed}', *options, *more]
    return run('train', DETECTOR, folder, *given)


def distill(folder: Path, iterations: int, seed: int, teacher: Path) -> float:
    """Distil; returns seconds."""
    options = [f'model.teacher.pretrained_cfg_overlay.file={teacher}', f'train_cfg.max_iters={iterations}']
    options += [f'param_scheduler.1.end={iterations}', f'default_hooks.checkpoint.interval={iterations}']
    options += [f'train_cfg.val_interval={iterations}', f'randomness.seed={seed}']
    return run('train', DISTILLATION, folder, '--cfg-options', *options)


def worth(folder: Path, teacher: Path) -> float:
    """Iterations of distillation in the time of one of the detector: by what a long run takes more than a short one."""
    ratios = []
    for turn in range(TURNS):
        took = {}
        for length in (SHORT, LONG):
            took['detect', length] = detect(folder / f'detect_{length}_{turn}', length, turn, IMAGES)
            took['distill', length] = distill(folder / f'distill_{length}_{turn}', length, turn, teacher)
        more = [took[name, LONG] - took[name, SHORT] for name in ('detect', 'distill')]
        ratios.append(more[0] / more[1])
    print(f'one iteration of the detector is worth {mean(ratios):.2f} of distillation ({ratios})', flush=True)
    return mean(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--teacher', type=Path, required=True, help='what `mmvssm demo` has trained')
    parser.add_argument('--iterations', type=int, default=240, help="of the detector, all a row's time")
    parser.add_argument('--shares', type=float, nargs='+', default=[0.25, 0.5], help='of the time, for distillation')
    parser.add_argument('--seeds', type=int, default=2)
    parser.add_argument('--labelled', type=int, default=IMAGES, help='images that the detector is trained on')
    args = parser.parse_args()
    ratio = worth(args.folder / 'worth', args.teacher)
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for seed in range(args.seeds):
        for share in (0.0, *args.shares):
            name, more, seconds = f'{share:.0%} distilled', [], 0.0
            if share:
                number, out = round(share * args.iterations * ratio), args.folder / f'distill_{share}_{seed}'
                seconds = distill(out, number, seed, args.teacher)
                more = [f'model.backbone.init_cfg.checkpoint={out}/iter_{number}.pth']
                more.append('model.backbone.init_cfg.type=Pretrained')
            folder = args.folder / f'detect_{share}_{seed}'
            seconds += detect(folder, round((1 - share) * args.iterations), seed, args.labelled, *more)
            rows[name].append(scores(folder))
            figures = '  '.join(f'{metric} {value:.3f}' for metric, value in rows[name][-1].items())
            print(f'seed {seed}  {name:14} {figures}  {seconds:.0f} CPU s', flush=True)
    for name, own in rows.items():
        for metric in own[0]:
            print(f'{name:14} {metric:14} {mean(row[metric] for row in own):.3f}  of {len(own)}')


if __name__ == '__main__':
    main()
