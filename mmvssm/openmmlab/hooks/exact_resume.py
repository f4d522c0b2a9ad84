"""A resumed run is the undisturbed one: random numbers and the place in the data travel with the checkpoint.

Two streams of random numbers are kept apart. Each sample is loaded and augmented under a seed of its own, made of the
run's seed, the process and the sample's place in the stream of batches, so it does not matter which worker loads it or
whether it is loaded again. What the iterations themselves draw (dropout, drop path, sampled regions) goes on from one
iteration to the next, undisturbed by what lies between them: loading, evaluation, saving.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, loops
from torch.utils.data import DataLoader, IterableDataset

from mmvssm.openmmlab.resuming import require_training_state

KEY = 'exact_resume'  # of a checkpoint


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Saves and restores the random states of all processes and the place in the data, mid-epoch too.

    On a CPU losses and weights of the resumed run are then those of the undisturbed one to the last bit. Checkpoints
    gain `exact_resume`: `states` (torch, numpy, python and CUDA generators of each process, and its gradients where the
    checkpoint falls between two updates of an accumulation) and the `seed` of the sampler.

    `mmvssm.AtomicCheckpointHook` brings this hook. Two runs remain different: those of an IterableDataset, whose place
    nothing tells, and those of another number of processes, which get fresh random numbers.
    """

    priority = 80  # below all that draws random numbers, above the checkpoint hooks

    def __init__(self):
        self._state: dict[str, Any] = {}
        self._epoch_state: dict[str, Any] = {}
        self._resumed: dict | None = None
        self._gathered: list[dict] = []

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if getattr(runner, '_resume', False):
            require_training_state(checkpoint, 'the checkpoint')
        self._resumed = checkpoint.pop(KEY, None)

    def before_train(self, runner) -> None:
        self._state = self._epoch_state = random_states()
        if runner.iter > 0 and self._resumed is not None:
            self._restore(runner, self._resumed)
        elif runner.iter > 0:
            runner.logger.warning('the checkpoint has no random states: the run goes on with fresh ones')
        self._resumed = None
        self._stream = _stream(runner.train_loop, runner.seed)

    def before_train_epoch(self, runner) -> None:
        loop = runner.train_loop
        done = _done_in_epoch(loop)
        if not done:
            self._epoch_state = self._state
        set_random_states(self._epoch_state)  # a plain DataLoader draws its order from them
        if self._stream is None or not isinstance(loop, EpochBasedTrainLoop):
            return
        self._stream.begin(loop.epoch * len(loop.dataloader), done)
        if done:
            run_iter = type(loop).run_iter.__get__(loop)
            loop.run_iter = lambda number, batch: run_iter(number + done, batch)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        set_random_states(self._state)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._state = random_states()

    def after_train_epoch(self, runner) -> None:
        vars(runner.train_loop).pop('run_iter', None)

    def gather(self, runner) -> None:
        """Collect the states of all processes, in all of them, for the checkpoint that the main one writes next."""
        own = self._own(runner)
        self._gathered = [own] if get_world_size() == 1 else all_gather_object(own)

    def _own(self, runner) -> dict:
        return dict(iteration=self._state, epoch=self._epoch_state, gradients=_pending_gradients(runner))

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        sampler = _sampler(runner.train_dataloader)
        checkpoint[KEY] = dict(states=self._gathered or [self._own(runner)], seed=getattr(sampler, 'seed', None))
        self._gathered = []

    def _restore(self, runner, saved: dict) -> None:
        if saved['seed'] is not None and hasattr(sampler := _sampler(runner.train_dataloader), 'seed'):
            sampler.seed = saved['seed']  # the run may have drawn one of its own when it built the loader
        if len(saved['states']) != get_world_size():
            runner.logger.warning(
                f'the checkpoint is of {len(saved["states"])} processes, this run has {get_world_size()}: it goes on '
                'with fresh random numbers'
            )
            return
        own = saved['states'][get_rank()]
        self._state, self._epoch_state = own['iteration'], own['epoch']
        model = _unwrapped(runner.model)
        for name, gradient in own['gradients'].items():
            parameter = model.get_parameter(name)
            parameter.grad = gradient.to(parameter.device)


def random_states() -> dict[str, Any]:
    """The states of torch's, numpy's, python's and CUDA's generators, as tensors and numbers."""
    _, keys, place, has_gauss, gauss = np.random.get_state()
    version, numbers, gauss_next = random.getstate()
    return dict(
        torch=torch.get_rng_state(),
        numpy=[torch.from_numpy(np.asarray(keys, np.int64)), int(place), int(has_gauss), float(gauss)],
        python=[version, torch.tensor(numbers), gauss_next],
        cuda=torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    )


def set_random_states(states: dict[str, Any]) -> None:
    """Put what :func:`random_states` returned back."""
    torch.set_rng_state(states['torch'].cpu())
    keys, place, has_gauss, gauss = states['numpy']
    np.random.set_state(('MT19937', keys.cpu().numpy().astype(np.uint32), place, has_gauss, gauss))
    version, numbers, gauss_next = states['python']
    random.setstate((version, tuple(numbers.tolist()), gauss_next))
    if states['cuda'] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(states['cuda'].cpu())


def _pending_gradients(runner) -> dict[str, torch.Tensor]:
    """Gradients that an accumulation has gathered and not applied yet."""
    wrapper = runner.optim_wrapper
    if getattr(wrapper, '_accumulative_counts', 1) == 1 or wrapper.should_update():
        return {}
    parameters = _unwrapped(runner.model).named_parameters()
    return {name: p.grad.detach().cpu().clone() for name, p in parameters if p.grad is not None}


def _unwrapped(model: torch.nn.Module) -> torch.nn.Module:
    return model.module if is_model_wrapper(model) else model


class Place(int):
    """The index of a sample that knows its place: (batch, number in the batch), both from 0."""

    place: tuple[int, int]

    @classmethod
    def of(cls, index: int, batch: int, number: int) -> Place:
        self = cls(index)
        self.place = (batch, number)
        return self


class PlacedBatches:
    """A batch sampler whose indices are :class:`Place`; it can begin in the middle.

    Attributes:
        number: of the next batch, counted over all passes.
        skip: how many of the next batches are left out.
    """

    def __init__(self, inner):
        self.inner, self.number, self.skip = inner, 0, 0

    def begin(self, number: int, skip: int) -> None:
        """The next pass starts with batch `number`, and leaves out the first `skip`."""
        self.number, self.skip = number, skip

    def __iter__(self) -> Iterator[list[Place]]:
        for batch in self.inner:
            number, self.number = self.number, self.number + 1
            if self.skip > 0:
                self.skip -= 1
            else:
                yield [Place.of(index, number, i) for i, index in enumerate(batch)]

    def __len__(self) -> int:
        return len(self.inner)

    def __getattr__(self, name: str) -> Any:
        if name == 'inner':  # a copy in the making
            raise AttributeError(name)
        return getattr(self.inner, name)


class SeededSamples:
    """A data set that loads each sample under the seed of its place; in everything else it is the one inside."""

    def __init__(self, inner, seed: int, rank: int):
        vars(self).update(_inner=inner, _seed=seed, _rank=rank)

    def __getitem__(self, index: int):
        if isinstance(index, Place):
            seed_all(self._seed, self._rank, *index.place)
        return self._inner[int(index)]

    def __getitems__(self, indices: list[int]) -> list:
        return [self[index] for index in indices]

    def __len__(self) -> int:
        return len(self._inner)

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__') or name == '_inner':
            raise AttributeError(name)
        return getattr(self._inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._inner, name, value)

    def __getstate__(self) -> dict:
        return dict(vars(self))

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)


def seed_all(*words: int) -> None:
    """Seed torch's, numpy's and python's generators of the CPU with a mixture of numbers."""
    mixed = np.random.SeedSequence([word & 0xFFFFFFFF for word in words]).generate_state(4)
    np.random.seed(mixed[:2])
    random.seed(int(mixed[2]))
    torch.default_generator.manual_seed(int(mixed[3]))


class EndlessBatches:
    """What an IterBasedTrainLoop takes its batches from: pass after pass over a loader, from batch `first` on.

    None of the batches before that is loaded.
    """

    def __init__(self, loader: DataLoader, stream: PlacedBatches, first: int):
        self.loader, self.stream, self.epoch = loader, stream, 0
        self._iterator: Iterator | None = None
        self._pass_began = 0
        # before it had `skip_iter`, mmengine's loop took this many batches and dropped them
        self._to_drop = 0 if hasattr(loops._InfiniteDataloaderIterator, 'skip_iter') else first
        stream.begin(0, first)

    def __iter__(self) -> EndlessBatches:
        return self

    def __next__(self):
        if self._to_drop > 0:
            self._to_drop -= 1
            return None
        while True:
            if self._iterator is None:
                self._pass_began, self._iterator = self.stream.number, iter(self.loader)
            try:
                return next(self._iterator)
            except StopIteration:
                if self.stream.number == self._pass_began:
                    raise  # no batches at all
                self._iterator = None
                self.epoch += 1
                if hasattr(sampler := _sampler(self.loader), 'set_epoch'):
                    sampler.set_epoch(self.epoch)

    def skip_iter(self, num_iters: int) -> None:
        """mmengine asks for what is done already."""


def _stream(loop, seed: int) -> PlacedBatches | None:
    """Give a train loop's loader places and seeds; None where it has none to give."""
    loader = loop.dataloader
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return None
    if loader.batch_sampler is None:
        return None
    stream = loader.batch_sampler
    if not isinstance(stream, PlacedBatches):  # it is one where the loop has run before
        stream = PlacedBatches(stream)
        # a DataLoader refuses to have these set, since an iterator that is under way would not notice
        vars(loader).update(batch_sampler=stream, dataset=SeededSamples(loader.dataset, seed or 0, get_rank()))
    if isinstance(loop, IterBasedTrainLoop):
        loop.dataloader_iterator = EndlessBatches(loader, stream, loop.iter)
    return stream


def _done_in_epoch(loop) -> int:
    """Batches of the present epoch that an earlier run has had; an IterBasedTrainLoop has one epoch of all."""
    if not isinstance(loop, EpochBasedTrainLoop):
        return loop.iter
    per_epoch = len(loop.dataloader)
    return min(max(loop.iter - loop.epoch * per_epoch, 0), per_epoch)


def _sampler(loader: DataLoader) -> Any:
    """The sampler of single indices."""
    inner = getattr(loader.batch_sampler, 'sampler', None)
    return loader.sampler if inner is None else inner
