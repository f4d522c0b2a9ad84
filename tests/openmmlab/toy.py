"""A training run of mmengine that takes milliseconds."""

import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader


class Double(nn.Module):
    """Multiplies without a layer of its own."""

    factor = 2.0

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.outer(self.inner(x) * self.factor)


class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        self.stem, self.middle, self.head = nn.Linear(4, 4), Double(), nn.Linear(4, 1)
        self.padding = nn.Parameter(torch.zeros(200_000))  # a file that takes a moment to write

    def forward(self, x, mode='tensor'):
        y = self.head(self.middle(self.stem(x)))
        return dict(loss=(y**2).mean() + self.padding.sum()) if mode == 'loss' else y


def runner(work_dir, hooks, epochs=1, **kwargs):
    """A Runner over 6 batches of 2 an epoch with the given default hooks (a dict of configs)."""
    torch.manual_seed(0)
    data = [torch.randn(4) for _ in range(12)]
    return Runner(
        Toy(),
        work_dir=str(work_dir),
        train_dataloader=DataLoader(data, batch_size=2, collate_fn=lambda batch: dict(x=torch.stack(batch))),
        train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-3, momentum=0.9)),
        default_hooks={'logger': None, 'timer': None, **hooks},
        log_level='ERROR',
        experiment_name=f'toy{id(data)}',
        **kwargs,
    )
