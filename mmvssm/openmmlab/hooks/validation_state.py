"""What hangs on validations survives a stop: none is left out, and early stopping goes on counting."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop

KEY = 'early_stopping'  # of a checkpoint


@HOOKS.register_module()
class ValidationStateHook(Hook):
    """Repeats the validation that a resumed run was to make at its place, and restores mmengine's EarlyStoppingHook.

    A checkpoint is written before the validation that is due with it, which a kill or a signal may have cut short.
    `mmvssm.AtomicCheckpointHook` brings this hook.
    """

    priority = 'LOWEST'  # the other hooks' `before_train` comes first: a validation saves and logs through them

    def __init__(self):
        self._resumed: list[dict[str, Any]] = []

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        counts = [dict(best_score=float(h.best_score), wait_count=int(h.wait_count)) for h in _early_stopping(runner)]
        if counts:
            checkpoint[KEY] = counts

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        self._resumed = checkpoint.pop(KEY, [])

    def before_train(self, runner) -> None:
        if not (getattr(runner, '_resume', False) and runner.iter > 0):
            return
        for hook, counts in zip(_early_stopping(runner), self._resumed):
            vars(hook).update(counts)
        if _validation_is_due(runner):
            runner.logger.info(f'the validation after iteration {runner.iter}, which the stopped run may have missed')
            runner.val_loop.run()


def _early_stopping(runner) -> list[EarlyStoppingHook]:
    return [hook for hook in runner.hooks if isinstance(hook, EarlyStoppingHook)]


def _validation_is_due(runner) -> bool:
    """Whether the train loop would validate before the iteration that comes next, had it not been stopped there."""
    loop = runner.train_loop
    if runner.val_loop is None or not hasattr(loop, '_decide_current_val_interval'):
        return False
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    if by_epoch and loop.iter != loop.epoch * len(loop.dataloader):
        return False  # in the middle of an epoch, or its end is still to come
    done, last = (loop.epoch, loop.max_epochs) if by_epoch else (loop.iter, loop.max_iters)
    loop._decide_current_val_interval()
    return done >= loop.val_begin and (done % loop.val_interval == 0 or done == last)
