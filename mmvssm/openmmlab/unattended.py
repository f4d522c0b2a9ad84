"""Runs that can be left alone: what `Runner.train` gets around it where `mmvssm.AtomicCheckpointHook` saves.

The run has its work folder to itself, goes on from the newest checkpoint that can be read, continues every stream of
random numbers where it stopped, and ends with a checkpoint when a signal comes.
"""

import contextlib
import functools
from collections.abc import Callable

from mmengine.dist import is_main_process
from mmengine.runner import FlexibleRunner, Runner

from mmvssm.openmmlab import resuming
from mmvssm.openmmlab.hooks.atomic_checkpoint import AtomicCheckpointHook
from mmvssm.openmmlab.hooks.exact_resume import ExactResumeHook
from mmvssm.openmmlab.hooks.stop_signal import StopSignalHook, leave_the_group
from mmvssm.openmmlab.hooks.validation_state import ValidationStateHook
from mmvssm.openmmlab.work_folder import locked


@functools.cache
def install() -> None:
    """Put it around mmengine's runners; idempotent."""
    resuming.install()
    for cls in (Runner, FlexibleRunner):
        cls.train = _left_alone(cls.train)
        cls.build_dataloader = staticmethod(_with_workers_apart(cls.build_dataloader))


def _with_workers_apart(build: Callable) -> Callable:
    @functools.wraps(build)
    def wrapped(*args, **kwargs):
        loader = build(*args, **kwargs)
        if getattr(loader, 'num_workers', 0):
            loader.worker_init_fn = functools.partial(leave_the_group, loader.worker_init_fn)
        return loader

    return wrapped


def _left_alone(train: Callable) -> Callable:
    @functools.wraps(train)
    def wrapped(self, *args, **kwargs):
        if not any(isinstance(hook, AtomicCheckpointHook) for hook in self.hooks):
            return train(self, *args, **kwargs)
        for hook in (ExactResumeHook, StopSignalHook, ValidationStateHook):
            if not any(isinstance(own, hook) for own in self.hooks):
                self.register_hook(hook())
        lock = locked(self.work_dir) if is_main_process() else contextlib.nullcontext()
        try:
            with lock:
                return train(self, *args, **kwargs)
        finally:
            for own in self.hooks:
                if isinstance(own, StopSignalHook):
                    own.restore()

    return wrapped
