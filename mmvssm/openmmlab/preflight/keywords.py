"""What each class takes: the names after `type`, which some classes swallow and use, or miss, hours later."""

import inspect
from collections.abc import Iterator
from typing import Any

from mmengine import registry
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.registry import Registry
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from mmvssm.errors import UsageError

from .places import matching, meant

# pattern of places -> the registry that `type` is looked up in
TYPED: dict[str, Registry] = {
    'optim_wrapper': registry.OPTIM_WRAPPERS,
    'optim_wrapper.optimizer': registry.OPTIMIZERS,
    'param_scheduler.*': registry.PARAM_SCHEDULERS,
    'default_hooks.*': registry.HOOKS,
    'custom_hooks.*': registry.HOOKS,
    'val_evaluator.*': registry.METRICS,
    'test_evaluator.*': registry.METRICS,
    'visualizer': registry.VISUALIZERS,
    'model': registry.MODELS,
}
OF_LOADERS = {
    'dataset': registry.DATASETS,
    'sampler': registry.DATA_SAMPLERS,
    'batch_sampler': registry.DATA_SAMPLERS,
}
SPLITS = {True: ('train', 'val'), False: ('test',)}
# what mmengine takes out of an entry before a class sees it
BESIDES = {
    'optim_wrapper': {'constructor', 'paramwise_cfg'},
    'param_scheduler': {'convert_to_iter_based'},
    'default_hooks': {'priority'},
    'custom_hooks': {'priority'},
}
DEFAULTS = {
    'optim_wrapper': 'OptimWrapper',
    'default_hooks.runtime_info': 'RuntimeInfoHook',
    'default_hooks.timer': 'IterTimerHook',
    'default_hooks.sampler_seed': 'DistSamplerSeedHook',
    'default_hooks.logger': 'LoggerHook',
    'default_hooks.param_scheduler': 'ParamSchedulerHook',
    'default_hooks.checkpoint': 'CheckpointHook',
}
LOADER = {
    'batch_size', 'num_workers', 'persistent_workers', 'pin_memory', 'drop_last', 'dataset', 'sampler', 'batch_sampler',
    'collate_fn', 'worker_init_fn', 'prefetch_factor', 'timeout', 'multiprocessing_context', 'generator',
    'pin_memory_device', 'shuffle', 'in_order', 'num_batch_per_epoch',
}  # fmt: skip


def check(cfg: Config, training: bool) -> None:
    """Every entry with a `type` outside of the model, whose inside is checked by building it.

    Raises:
        UsageError: no class of that name, or one that takes no such keyword.
    """
    for place, node, kind in _typed(cfg, training):
        if node is None or not isinstance(node, dict):
            continue  # a hook that is turned off, an object in place of its config
        name = node.get('type', DEFAULTS.get(place))
        if name is None:
            raise UsageError(f'{place} has no type')
        cls = resolve(place, name, kind)
        if place != 'model':
            besides = BESIDES.get(place.partition('.')[0], set())
            _check_keywords(place, node, cls, besides)
    for split in SPLITS[training]:
        for place, loader in matching(cfg, f'{split}_dataloader'):
            _refuse_others(place, loader or {}, LOADER)
    if training:
        _check_loop(cfg)
        _check_clipping(cfg)


def resolve(place: str, name: Any, kind: Registry) -> Any:
    """The class of a `type`.

    Raises:
        UsageError: there is none; the message has the nearest name.
    """
    if not isinstance(name, str):
        return name
    with kind.switch_scope_and_registry(None) as scoped:
        try:
            cls = scoped.get(name)
        except (ImportError, KeyError) as error:
            raise UsageError(f'{place}.type={name!r}: {error}') from None
        if cls is None:
            known = {known for one in with_parents(scoped) for known in one.module_dict}
            asked = name.rpartition('.')[2]
            raise UsageError(f'{place}.type={name!r}: there is no such {kind.name}{meant(asked, known)}')
    return cls


def keywords_of(cls: Any) -> set[str] | None:
    """Names that a class or function takes, those included that it hands on by `**kwargs`; None where it takes all."""
    owners = [c for c in cls.__mro__ if '__init__' in vars(c)] if inspect.isclass(cls) else [cls]
    names: set[str] = set()
    for owner in owners:
        if owner is object:
            break
        try:
            given = inspect.signature(owner.__init__ if inspect.isclass(owner) else owner).parameters.values()
        except (TypeError, ValueError):
            return None
        names |= {p.name for p in given if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)} - {'self'}
        if all(p.kind is not p.VAR_KEYWORD for p in given):
            return names
    if inspect.isclass(cls) and issubclass(cls, CheckpointHook):  # it keeps the rest for the first save
        return names | set(inspect.signature(Runner.save_checkpoint).parameters) - {'self'}
    return None


def _typed(cfg: Config, training: bool) -> Iterator[tuple[str, Any, Registry]]:
    for pattern, kind in TYPED.items():
        if training or not pattern.startswith(('optim', 'param', 'val_')):
            for place, node in matching(cfg, pattern):
                yield place, node, kind
    for split in SPLITS[training]:
        for key, kind in OF_LOADERS.items():
            for place, node in matching(cfg, f'{split}_dataloader.{key}'):
                yield from _nested(place, node, kind)


def _nested(place: str, node: Any, kind: Registry) -> Iterator[tuple[str, Any, Registry]]:
    """A data set and those inside of it."""
    yield place, node, kind
    if isinstance(node, dict):
        for key in ('dataset', 'datasets.*'):
            for inside, inner in matching(node, key):
                yield from _nested(f'{place}.{inside}', inner, kind)


def _check_keywords(place: str, node: dict, cls: Any, besides: set[str]) -> None:
    known = keywords_of(cls)
    if known is not None:
        _refuse_others(place, node, known | besides | {'type'}, getattr(cls, '__name__', ''))


def _refuse_others(place: str, node: dict, known: set[str], owner: str = '') -> None:
    for key in node:
        if key not in known and key not in ('_scope_', '_delete_'):
            allowed = ', '.join(sorted(known - {'type'})) or 'nothing'
            words = meant(key, known) or f'; allowed: {allowed}'
            raise UsageError(f'{place}.{key}: {owner or place} takes no {key!r}{words}')


def _check_loop(cfg: Config) -> None:
    loop = cfg.train_cfg
    if 'type' in loop:
        cls = resolve('train_cfg', loop.type, registry.LOOPS)
    elif 'by_epoch' in loop:
        cls = EpochBasedTrainLoop if loop.by_epoch else IterBasedTrainLoop
    else:
        raise UsageError('train_cfg needs a type, EpochBasedTrainLoop or IterBasedTrainLoop, or by_epoch')
    known = keywords_of(cls)
    if known is not None:
        _refuse_others('train_cfg', loop, (known - {'runner', 'dataloader'}) | {'type', 'by_epoch'}, cls.__name__)
    for need in {'max_epochs', 'max_iters'} & set(known or ()):
        parameter = inspect.signature(cls).parameters.get(need)
        if parameter is not None and parameter.default is parameter.empty and need not in loop:
            raise UsageError(f'train_cfg.{need} is missing: {cls.__name__} needs it')


def _check_clipping(cfg: Config) -> None:
    clip = cfg.optim_wrapper.get('clip_grad')
    if clip:
        function = clip_grad_value_ if clip.get('type') == 'value' else clip_grad_norm_
        known = set(inspect.signature(function).parameters) - {'parameters'} | {'type'}
        _refuse_others('optim_wrapper.clip_grad', clip, known, function.__name__)


def with_parents(kind: Registry | None) -> Iterator[Registry]:
    """A registry and those that it falls back to."""
    while kind is not None:
        yield kind
        kind = kind.parent
