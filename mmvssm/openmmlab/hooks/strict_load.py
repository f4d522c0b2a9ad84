"""Strict loading wherever mmengine loads a model with a backbone of this project.

mmengine loads non-strictly: a file of another model leaves the weights random and says so in a log line at most. Its
`load_checkpoint` (in mmdet's `init_detector` and mmseg's `init_model`), inferencers, runners and strategies all end in
its `load_state_dict`, which `install` wraps. Other models keep mmengine's behaviour, but under `tools/`.
"""

import functools

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, Runner, checkpoint

from mmvssm.openmmlab.loading import fitting_state, own_backbones, unwrapped
from mmvssm.settings import Flag, checked


@HOOKS.register_module()
class StrictLoadHook(Hook):
    """Compares a checkpoint with the model before mmengine loads it, and puts it in the model's layout.

    A run that loads a model with a backbone of this project has this hook without asking.

    Args:
        heads_may_differ: for fine-tuning: parameters outside the backbone may be missing or of other shapes (another
            number of classes); they keep their fresh values and are named in the log.

    Raises (when a checkpoint is loaded):
        CheckpointError: what does not fit, and which variant the file's backbone looks like.
    """

    priority = 'VERY_HIGH'  # before other hooks take their part of a checkpoint, as that of averaged weights does

    @checked(heads_may_differ=Flag())
    def __init__(self, heads_may_differ: bool = False):
        self.heads_may_differ = heads_may_differ

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        state, fresh = fitting_state(runner.model, checkpoint, self.heads_may_differ)
        if fresh:
            runner.logger.warning(f'kept fresh, not in the checkpoint as the model has them: {", ".join(fresh)}')
        checkpoint['state_dict'] = state


def install() -> None:
    """Make mmengine strict with models that have a backbone of this project; idempotent."""
    load, load_in_run = checkpoint.load_state_dict, Runner.load_checkpoint
    if getattr(load, '__module__', '') == __name__:
        return

    def load_state_dict(module, state_dict, strict=False, logger=None):
        if own_backbones(module):
            module = unwrapped(module)
            state_dict, _ = fitting_state(module, state_dict)
        return load(module, state_dict, strict, logger)

    @functools.wraps(load_in_run)
    def load_checkpoint(self, *args, **kwargs):
        if own_backbones(self.model) and not any(isinstance(hook, StrictLoadHook) for hook in self.hooks):
            fine_tuning = isinstance(self._train_loop, BaseLoop) and not self._resume
            self.register_hook(StrictLoadHook(heads_may_differ=fine_tuning))
        return load_in_run(self, *args, **kwargs)

    load_state_dict.__doc__ = load.__doc__
    checkpoint.load_state_dict, Runner.load_checkpoint = load_state_dict, load_checkpoint
