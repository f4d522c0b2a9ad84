"""A short training run of a micro backbone in a process of its own; writes every iteration's loss to FOLDER/losses.

python -m tests.openmmlab.trainee FOLDER [--batch-size 4] [--resume] [--die-at 14] [--launcher pytorch]
"""

import argparse
import os
import signal
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import Runner

import mmvssm.openmmlab  # noqa: F401


class Model(BaseModel):
    """Predicts an image's mean from the last map."""

    def __init__(self):
        super().__init__()
        self.backbone = MODELS.build(dict(type='mmvssm.LocalVMamba', arch='test_localvmamba'))
        self.head = torch.nn.Linear(self.backbone.feature_info.channels()[-1], 1)

    def forward(self, inputs, mode='tensor'):
        maps = self.backbone(inputs)
        y = self.head(maps[-1].mean((2, 3)))[:, 0] + sum(m.mean((1, 2, 3)) for m in maps)
        return dict(loss=(y - inputs.mean((1, 2, 3))).square().mean()) if mode == 'loss' else y


class Diary(Hook):
    def __init__(self, path: Path, die_at: int):
        self.path, self.die_at = path, die_at

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        with open(self.path, 'a') as file:
            file.write(f'{runner.iter} {outputs["loss"].item()!r}\n')
        if runner.iter == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('folder', type=Path)
    parser.add_argument('--batch-size', type=int, default=4)
    parser.add_argument('--resume', action='store_true')
    parser.add_argument('--die-at', type=int, default=-1)
    parser.add_argument('--launcher', default='none')
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = [torch.randn(3, 24, 40, generator=torch.Generator().manual_seed(i)) for i in range(40)]
    rank = os.environ.get('RANK', '0')
    runner = Runner(
        Model(),
        work_dir=str(args.folder),
        train_dataloader=dict(
            dataset=data,
            batch_size=args.batch_size,
            num_workers=0,
            sampler=dict(type='DefaultSampler', seed=0),
            collate_fn=lambda batch: dict(inputs=torch.stack(batch)),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=10),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
        param_scheduler=dict(type='CosineAnnealingLR', by_epoch=False, T_max=20),
        default_hooks=dict(
            logger=None, timer=None, checkpoint=dict(type='mmvssm.AtomicCheckpointHook', interval=1, max_keep_ckpts=2)
        ),
        custom_hooks=[Diary(args.folder / f'losses{rank}', args.die_at)],
        launcher=args.launcher,
        env_cfg=dict(dist_cfg=dict(backend='gloo')),
        randomness=dict(seed=0),
        resume=args.resume,
        log_level='ERROR',
    )
    runner.train()


if __name__ == '__main__':
    main()
