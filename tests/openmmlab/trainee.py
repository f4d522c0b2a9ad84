"""A short training run of a micro backbone in a process of its own; writes every iteration's loss to FOLDER/losses.

python -m tests.openmmlab.trainee FOLDER [--batch-size 4] [--resume] [--die-at 14] [--launcher pytorch]
    [--noise] [--workers 2] [--loop epoch|iter|endless] [--signal-at 14 --signal 15] [--save-every 3] ...
"""

import argparse
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import FlexibleRunner, Runner

import mmvssm.openmmlab  # noqa: F401
from mmvssm import configs
from mmvssm.openmmlab.hooks.stop_signal import SIGNALS


class Model(BaseModel):
    """Predicts an image's mean from the last map."""

    def __init__(self, noise: bool, search: bool = False):
        super().__init__()
        backbone = dict(type='mmvssm.LocalVMamba', arch='test_localvmamba', drop_path_rate=0.3 if noise else 0.0)
        backbone.update(dict(directions=None) if search else {})
        self.backbone = MODELS.build(backbone)
        self.drop = torch.nn.Dropout(0.5 if noise else 0.0)
        self.head = torch.nn.Linear(self.backbone.feature_info.channels()[-1], 1)

    def forward(self, inputs, mode='tensor'):
        maps = self.backbone(inputs)
        y = self.head(self.drop(maps[-1].mean((2, 3))))[:, 0] + sum(m.mean((1, 2, 3)) for m in maps)
        return dict(loss=(y - inputs.mean((1, 2, 3))).square().mean()) if mode == 'loss' else [y]


class Images(torch.utils.data.Dataset):
    """Images, changed by each of three generators where there is noise."""

    def __init__(self, noise: bool, count: int):
        self.noise = noise
        self.images = [torch.randn(3, 24, 40, generator=torch.Generator().manual_seed(i)) for i in range(count)]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = self.images[index]
        if self.noise:
            image = image * np.random.uniform(0.5, 1.5) + random.random() + torch.rand(())
        return image


class Diary(Hook):
    """Notes every loss; does to its own process what the arguments say."""

    def __init__(self, args: argparse.Namespace, rank: str):
        self.args, self.rank = args, rank

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        with open(self.args.folder / f'losses{self.rank}', 'a') as file:
            file.write(f'{runner.iter} {outputs["loss"].item()!r}\n')
        if self.args.sleep:
            (self.args.folder / 'sleeping').touch()
            time.sleep(self.args.sleep)
        if runner.iter == self.args.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if runner.iter == self.args.raise_at and self.rank == self.args.signal_rank:
            raise ValueError('out of luck')
        if runner.iter == self.args.signal_at and self.rank == self.args.signal_rank:
            self.signal()

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.args.signal_in_validation:
            self.signal()

    def after_val_epoch(self, runner, metrics=None):
        with open(self.args.folder / 'validations', 'a') as file:
            file.write(f'{runner.iter}\n')

    def signal(self):
        os.kill(os.getpid(), self.args.signal)
        for child in multiprocessing.active_children() if self.args.to_group else ():
            os.kill(child.pid, self.args.signal)


class Nothing(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(np.random.rand() + random.random() + torch.rand(()))  # as some metrics do

    def compute_metrics(self, results):
        return dict(score=1.0)


LOOPS = {
    'epoch': (dict(by_epoch=True, max_epochs=2, val_interval=1), dict(type='DefaultSampler')),
    'iter': (dict(by_epoch=False, max_iters=20, val_interval=6), dict(type='DefaultSampler')),
    'endless': (dict(by_epoch=False, max_iters=20, val_interval=6), dict(type='InfiniteSampler')),
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('folder', type=Path)
    parser.add_argument('--batch-size', type=int, default=4)
    parser.add_argument('--resume', action='store_true')
    parser.add_argument('--die-at', type=int, default=-1)
    parser.add_argument('--raise-at', type=int, default=-1)
    parser.add_argument('--images', type=int, default=40)
    parser.add_argument('--epochs', type=int, default=2)
    parser.add_argument('--constant', action='store_true', help='the learning rate')
    parser.add_argument('--timeout', type=float, default=600.0, help='seconds that processes wait for each other')
    parser.add_argument('--signal-at', type=int, default=-1)
    parser.add_argument('--signal-rank', default='0')
    parser.add_argument('--signal', type=int, default=signal.SIGTERM)
    parser.add_argument('--signal-in-validation', action='store_true')
    parser.add_argument('--patience', type=int, help='validations without progress that end the run')
    parser.add_argument('--to-group', action='store_true', help='the signal reaches workers too, as Ctrl-C does')
    parser.add_argument('--ignore', type=int, help='a signal')
    parser.add_argument('--sleep', type=float, default=0.0, help='seconds at the end of each iteration')
    parser.add_argument('--launcher', default='none')
    parser.add_argument('--fsdp', action='store_true', help='sharded parameters')
    parser.add_argument('--search', action='store_true', help='for scan directions')
    parser.add_argument('--noise', action='store_true')
    parser.add_argument('--workers', type=int, default=0)
    parser.add_argument('--loop', default='epoch', choices=LOOPS)
    parser.add_argument('--save-every', type=int, help='iterations, not epochs')
    parser.add_argument('--accumulate', type=int, default=1)
    parser.add_argument('--ema', action='store_true', help='averaged weights')
    parser.add_argument('--seed', type=int, default=0, help='-1 for one that the run draws')
    args = parser.parse_args(arguments)
    for number in SIGNALS:  # whatever the one who runs the tests ignores
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    if args.ignore is not None:
        signal.signal(args.ignore, signal.SIG_IGN)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rank = os.environ.get('RANK', '0')
    cfg, sampler = LOOPS[args.loop]
    cfg = dict(cfg, max_epochs=args.epochs) if args.loop == 'epoch' else cfg
    schedule = dict(type='ConstantLR', factor=1) if args.constant else dict(type='CosineAnnealingLR', T_max=20)
    checkpoint = dict(interval=args.save_every or 1, by_epoch=args.save_every is None, max_keep_ckpts=2)
    stopping = [] if args.patience is None else [EarlyStoppingHook('score', 'greater', patience=args.patience)]
    if args.ema:
        stopping.append(dict(type='EMAHook', ema_type='MomentumAnnealingEMA', gamma=10))
    if args.search:
        stopping.append(dict(type='mmvssm.DirectionSearchHook', alternating=True, temperature=[1.0, 0.1]))
        sampler = dict(type='AlternatingSampler', batch_size=args.batch_size, gathered=args.accumulate)
    validated = dict(val_dataloader=loader(args, dict(type='DefaultSampler', shuffle=False)), val_cfg=dict())
    sharded = dict(strategy=Config.fromfile(configs.FOLDER / '_base_/fsdp.py')['strategy']) if args.fsdp else {}
    runner = (FlexibleRunner if args.fsdp else Runner)(
        Model(args.noise, args.search),
        work_dir=str(args.folder),
        train_dataloader=loader(args, sampler),
        train_cfg=dict(cfg),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3), accumulative_counts=args.accumulate),
        param_scheduler=dict(schedule, by_epoch=False),
        default_hooks=dict(logger=None, timer=None, checkpoint=dict(type='mmvssm.AtomicCheckpointHook', **checkpoint)),
        custom_hooks=[Diary(args, rank), *stopping],
        launcher=args.launcher,
        env_cfg=dict(dist_cfg=dict(backend='gloo', timeout=args.timeout)),
        randomness=dict(seed=None if args.seed < 0 else args.seed),
        resume=args.resume,
        log_level='WARNING',
        **sharded,
        **(dict(validated, val_evaluator=[Nothing()]) if args.noise else {}),
    )
    runner.train()


def loader(args, sampler: dict) -> dict:
    return dict(
        dataset=Images(args.noise, args.images),
        batch_size=args.batch_size,
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
        sampler=dict(sampler),
        collate_fn=collate,
    )


def collate(batch: list) -> dict:
    return dict(inputs=torch.stack(batch))


if __name__ == '__main__':
    main()
