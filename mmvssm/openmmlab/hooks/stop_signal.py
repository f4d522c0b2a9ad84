"""A signal ends a run at the end of the iteration, with a checkpoint: preemption, a time limit, Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from mmengine.device import get_device
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

SIGNALS = tuple(
    getattr(signal, name)
    for name in ('SIGTERM', 'SIGINT', 'SIGUSR1', 'SIGUSR2', 'SIGHUP', 'SIGXCPU')
    if hasattr(signal, name)
)
ECHO = 2.0  # seconds in which torchrun repeats to its processes the Ctrl-C that they have had from the terminal


@HOOKS.register_module()
class StopSignalHook(Hook):
    """On SIGTERM, SIGINT (Ctrl-C), SIGUSR1, SIGUSR2, SIGHUP or SIGXCPU: save, say so in a line, exit with 128 + n.

    The signal may reach any process: at the end of each iteration, of training or validation, all agree. A second
    Ctrl-C ends the run at once. Signals that are ignored when the run starts (`nohup`) stay so.

    `mmvssm.AtomicCheckpointHook` brings this hook, and does the saving.
    """

    priority = 'LOWEST'  # what the iteration's other hooks save is there already

    def __init__(self):
        self._number = 0
        self._since = 0.0
        self._process = os.getpid()
        self._before: dict[int, Any] = {}
        self._training = False
        self._group: Any = None
        self._common_iterations = 0

    def before_train(self, runner) -> None:
        self._training = True
        self._group = _group() if get_world_size() > 1 else None
        if threading.current_thread() is not threading.main_thread():
            return  # Python takes handlers from the main thread alone
        for number in SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, self._note)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if number := self._agreed():
            self._stop(runner, number, dict(epoch=runner.epoch, iter=runner.iter + 1))

    def before_val_epoch(self, runner) -> None:
        loop = runner.val_loop
        if self._group is not None and hasattr(loop, 'dataloader'):
            # processes may have one batch more or less than others, and would wait for them in vain
            count = torch.tensor(len(loop.dataloader))
            dist.all_reduce(count, dist.ReduceOp.MIN, group=self._group)
            self._common_iterations = int(count)

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if not self._training or (self._group is not None and batch_idx >= self._common_iterations):
            return
        if number := self._agreed():
            self._stop(runner, number, dict(epoch=runner.epoch, iter=runner.iter))

    def restore(self) -> None:
        """Give the signals back to whom they belonged."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before, self._training = {}, False

    def after_train(self, runner) -> None:
        self.restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker, forked with this handler
            return
        echo = 'TORCHELASTIC_RUN_ID' in os.environ and time.monotonic() - self._since < ECHO
        if number == signal.SIGINT and self._number == signal.SIGINT and not echo:
            os._exit(128 + number)
        if not self._number:
            self._number, self._since = number, time.monotonic()
            _say(f'{signal.Signals(number).name}: the run stops at the end of this iteration')

    def _agreed(self) -> int:
        if self._group is None:
            return self._number
        number = torch.tensor(self._number)
        dist.all_reduce(number, dist.ReduceOp.MAX, group=self._group)
        return int(number)

    def _stop(self, runner, number: int, meta: dict) -> None:
        from .atomic_checkpoint import AtomicCheckpointHook

        hook = next(hook for hook in runner.hooks if isinstance(hook, AtomicCheckpointHook))
        path = hook.save_now(runner, meta)
        self.restore()
        if is_main_process():
            name = signal.Signals(number).name
            runner.logger.info(f'{name}: stopped after iteration {meta["iter"]}, which is in {path}; --resume goes on')
        sys.exit(128 + number)


def _die_as_others_do() -> None:
    """In a process that is forked from a run: SIGTERM ends it, as pools and data loaders take for granted.

    A handler in Python's own words would be put off while the process waits for a lock, for ever.
    """
    if isinstance(getattr(signal.getsignal(signal.SIGTERM), '__self__', None), StopSignalHook):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_die_as_others_do)


def leave_the_group(init: Callable[[int], None] | None, worker_id: int) -> None:
    """A DataLoader's `worker_init_fn`: a worker is no longer of the run's process group.

    What signals the whole group, as `timeout` does, leaves it to the run to stop at the end of its iteration, for
    which it wants batches. A worker whose run is gone ends by itself.
    """
    if init is not None:
        init(worker_id)
    if hasattr(os, 'setpgid'):
        os.setpgid(0, 0)


def _group() -> Any:
    """The processes, talking past the GPUs, and waiting for each other no longer than the others of the run do."""
    whole = dist.group.WORLD
    options = getattr(whole._get_backend(torch.device(get_device())), 'options', None)
    return dist.new_group(backend='gloo', timeout=getattr(options, '_timeout', None))


def _say(line: str) -> None:
    """Write past Python's buffers, which a handler may interrupt."""
    os.write(2, f'{line}\n'.encode())
