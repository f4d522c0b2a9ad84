"""How many images an update of the weights sees, and the learning rate that goes with them, in words."""

from mmengine.dist import get_world_size
from mmengine.optim import OptimWrapperDict
from mmengine.runner import FlexibleRunner, Runner


def in_words(runner: Runner | FlexibleRunner) -> str:
    """'2 processes x 4 images = batch 8, learning rate 0.0001', for a runner that is about to train.

    Accumulated gradients count; what `--auto-scale-lr` did to the learning rate is said behind it.
    """
    processes, images = get_world_size(), _images(runner)
    if images is None:  # batches of a size of their own
        return f'{_many(processes, "process", "processes")}, {_learning_rate(runner)}'
    factors = [_many(processes, 'process', 'processes'), _many(images, 'image', 'images')]
    accumulated = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
    if accumulated > 1:
        factors.append(f'{accumulated} accumulated')
    batch = processes * images * accumulated
    return f'{" x ".join(factors)} = batch {batch}, {_learning_rate(runner)}{_scaled(runner)}'


def _many(count: int, one: str, many: str) -> str:
    return f'{count} {one if count == 1 else many}'


def _images(runner) -> int | None:
    """In a batch of one process."""
    loader = runner.train_dataloader
    return getattr(loader, 'batch_size', None) or getattr(getattr(loader, 'batch_sampler', None), 'batch_size', None)


def _learning_rate(runner) -> str:
    """The one that the schedule starts from; layer-wise decay gives some parameters less, `lr_mult` may give more."""
    wrapper = runner.optim_wrapper
    wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    groups = [group for one in wrappers for group in one.optimizer.param_groups]
    rates = [group.get('initial_lr', group['lr']) for group in groups]
    general = max(one.optimizer.defaults.get('lr', 0.0) for one in wrappers) * _factor(runner)
    return f'learning rate {max([rate for rate in rates if rate <= 1.0001 * general] or rates):.6g}'


def _scaled(runner) -> str:
    scaling = (runner.cfg or {}).get('auto_scale_lr') or {}
    if not scaling.get('enable', False):
        return ''
    return f' (scaled by {_factor(runner):.6g} from a batch of {scaling["base_batch_size"]})'


def _factor(runner) -> float:
    """mmengine scales by what the processes see at once, whatever is accumulated."""
    scaling = (runner.cfg or {}).get('auto_scale_lr') or {}
    images = _images(runner)
    if not scaling.get('enable', False) or images is None:
        return 1.0
    return get_world_size() * images / scaling['base_batch_size']
