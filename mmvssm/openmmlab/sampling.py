"""Samplers of training data that mmengine lacks."""

import math
from collections.abc import Iterator, Sized

import torch
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from mmvssm.settings import Anything, Flag, Int, OrNone, checked


@DATA_SAMPLERS.register_module()
class AlternatingSampler(Sampler):
    """Batches of one half of the data in turn with batches of the other, for what is trained on each by itself.

    The halves are the same in every pass. Each is shuffled anew, shared among the processes, and filled up with
    repeated samples to whole batches.

    Args:
        dataset: the data set.
        batch_size: of the loader.
        gathered: batches whose gradients are one update; so many come from a half before the other's turn.
        shuffle: the order of each half.
        seed: of halves and orders; None draws one.
        round_up: taken since mmengine's samplers have it; passes are always whole.
    """

    @checked(
        dataset=Anything(),
        batch_size=Int(1),
        gathered=Int(1),
        shuffle=Flag(),
        seed=OrNone(Int(0)),
        round_up=Flag(),
    )
    def __init__(
        self,
        dataset: Sized,
        batch_size: int,
        gathered: int = 1,
        shuffle: bool = True,
        seed: int | None = None,
        round_up: bool = True,
    ):
        if len(dataset) < 2:
            raise ValueError(f'AlternatingSampler: {len(dataset)} sample makes no two halves; allowed: 2 or more')
        self.rank, self.world_size = get_dist_info()
        self.seed = sync_random_seed() if seed is None else seed
        self.num_samples, self.block, self.shuffle, self.epoch = len(dataset), batch_size * gathered, shuffle, 0

    def _halves(self) -> list[list[int]]:
        """One process's share of each half, in whole blocks, as many of each."""
        order = torch.randperm(self.num_samples, generator=torch.Generator().manual_seed(self.seed))
        halves = [order[i::2] for i in (0, 1)]
        blocks = math.ceil(len(halves[0]) / (self.block * self.world_size))
        own = []
        for i, half in enumerate(halves):
            if self.shuffle:
                generator = torch.Generator().manual_seed(self.seed + 2 * self.epoch + i)
                half = half[torch.randperm(len(half), generator=generator)]
            length = blocks * self.block * self.world_size
            own.append(half.repeat(math.ceil(length / len(half)))[self.rank : length : self.world_size].tolist())
        return own

    def __iter__(self) -> Iterator[int]:
        first, second = self._halves()
        for start in range(0, len(first), self.block):
            yield from first[start : start + self.block]
            yield from second[start : start + self.block]

    def __len__(self) -> int:
        return 2 * self.block * math.ceil(math.ceil(self.num_samples / 2) / (self.block * self.world_size))

    def set_epoch(self, epoch: int) -> None:
        """Another order of both halves."""
        self.epoch = epoch
