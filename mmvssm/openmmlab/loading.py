"""Whole detectors and segmentors from checkpoints, every key accounted for.

mmengine loads non-strictly: a file of another model leaves the weights random and says so in a log line at most.
"""

from fnmatch import fnmatch

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS

from mmvssm.backbones import _factory
from mmvssm.registry import ConfigBackbone
from mmvssm.weights import CheckpointError

BACKBONE = 'backbone.'


@HOOKS.register_module()
class StrictLoadHook(Hook):
    """Compares a checkpoint with the model before mmengine loads it.

    Args:
        heads_may_differ: for fine-tuning: parameters outside the backbone may be missing or of other shapes (another
            number of classes); they keep their fresh values and are named in the log.

    Raises (when a checkpoint is loaded):
        CheckpointError: what does not fit, and which variant the file's backbone looks like.
    """

    def __init__(self, heads_may_differ: bool = False):
        self.heads_may_differ = heads_may_differ

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model = getattr(model, 'module', model)  # test-time augmentation wraps the model once more
        state = next(
            (checkpoint[k] for k in ('state_dict', 'model') if isinstance(checkpoint.get(k), dict)), checkpoint
        )
        if not any(hasattr(value, 'shape') for value in state.values()):
            raise CheckpointError(f'the checkpoint holds no weights; it holds {", ".join(map(str, checkpoint))[:200]}')
        state = translate(model, state)
        differences = compare(model, state)
        if self.heads_may_differ:
            excused = [name for name in differences if not name.startswith(BACKBONE)]
            if excused:
                runner.logger.warning(f'kept fresh, not in the checkpoint as the model has them: {", ".join(excused)}')
            differences = {k: v for k, v in differences.items() if k not in excused}
        if differences:
            raise CheckpointError(_message(model, state, differences))
        checkpoint['state_dict'] = state


def translate(model, state: dict) -> dict:
    """Older official layouts of the backbone's keys -> today's; `module.` prefixes go."""
    state = {name.removeprefix('module.'): value for name, value in state.items()}
    backbone = getattr(model, 'backbone', None)
    if not isinstance(backbone, ConfigBackbone):
        return state
    inner = {name.removeprefix(BACKBONE): value for name, value in state.items() if name.startswith(BACKBONE)}
    rest = {name: value for name, value in state.items() if not name.startswith(BACKBONE)}
    try:
        converted = _factory._filter_fn(backbone)(inner, backbone)
    except (KeyError, RuntimeError, ValueError):  # another family's keys, which the comparison will name
        converted = inner
    return {**rest, **{BACKBONE + name: value for name, value in converted.items()}}


def compare(model, state: dict) -> dict[str, str]:
    """Name -> what is wrong with it: 'missing', 'unknown' or two shapes."""
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    got = {name: tuple(getattr(value, 'shape', ())) for name, value in state.items()}
    differences = {name: 'missing' for name in wanted if name not in got and not fnmatch(name, '*.num_batches_tracked')}
    differences.update({name: 'unknown' for name in got if name not in wanted})
    differences.update(
        {n: f'{got[n]} for {wanted[n]}' for n in wanted if n in got and got[n] != wanted[n]},
    )
    return differences


def _message(model, state: dict, differences: dict[str, str]) -> str:
    fresh = getattr(getattr(model, 'backbone', None), 'fresh_prefixes', ())
    inner = {name.removeprefix(BACKBONE): value for name, value in state.items() if name.startswith(BACKBONE)}
    looks = _factory.identify({name: value for name, value in (inner or state).items() if not name.startswith(fresh)})
    what = f'its backbone looks like {" or ".join(looks)}' if looks else 'its backbone fits no registered variant'
    few = ', '.join(f'{name}: {reason}' for name, reason in list(differences.items())[:4])
    more = f' and {len(differences) - 4} more' if len(differences) > 4 else ''
    return f'the checkpoint does not fit the model of this config ({what})\n{few}{more}'
