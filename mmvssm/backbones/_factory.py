"""Variants by name: registration (here and in timm), construction, loading of weights with a full account of keys."""

import difflib
import functools
import inspect
import logging
import re
import sys
from collections.abc import Callable
from fnmatch import fnmatch

import torch
from timm.models import adapt_input_conv, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmvssm import weights

from ._base import HierarchicalBackbone, check_choice

_logger = logging.getLogger('mmvssm')
_entrypoints: dict[str, Callable] = {}


def register_variant(cls: type) -> Callable:
    """Decorator for a function that returns the constructor arguments of one variant of `cls`.

    The function becomes an entry point `name(pretrained=False, **overrides) -> model`, known to
    :func:`create_model` and to `timm.create_model`.
    """

    def decorate(numbers: Callable[[], dict]) -> Callable:
        name = numbers.__name__

        @functools.wraps(numbers)
        def entrypoint(pretrained=False, pretrained_cfg=None, pretrained_cfg_overlay=None, cache_dir=None, **kwargs):
            return _build(cls, name, pretrained, cache_dir, {**numbers(), **kwargs})

        del entrypoint.__wrapped__  # so that signatures show the entry point's own arguments
        entrypoint.cls, entrypoint.numbers = cls, numbers
        _entrypoints[name] = entrypoint
        module = sys.modules[numbers.__module__]
        vars(module).setdefault('default_cfgs', {}).update(generate_default_cfgs({name: _timm_cfg(cls, name)}))
        return register_model(entrypoint)

    return decorate


def _timm_cfg(cls: type, name: str) -> dict:
    """timm's description of a variant: its published weights and how images were prepared for them."""
    published = weights.default_checkpoint(name)
    images = weights.evaluation(name)
    return dict(
        url=published.url if published else '',
        num_classes=1000,
        pool_size=tuple(n // 32 for n in images['input_size'][1:]) if issubclass(cls, HierarchicalBackbone) else None,
        **images,
        first_conv=cls.first_conv,
        classifier=cls.classifier_name,
        license=published.license if published else None,
    )


def _build(cls: type, name: str, pretrained, cache_dir, kwargs: dict) -> nn.Module:
    # timm's name for features out of `forward_intermediates`, the one way that there is here
    check_choice('feature_cls', kwargs.pop('feature_cls', 'getter'), ('getter',))
    _reject_unknown(cls, name, kwargs)
    model = cls(**kwargs)
    model.variant = name
    model.pretrained_cfg = model.default_cfg = _timm_cfg(cls, name)
    if pretrained is not False and pretrained is not None:
        load_weights(model, _source(name, pretrained, cache_dir))
    return model


def _reject_unknown(cls: type, name: str, kwargs: dict) -> None:
    allowed = inspect.signature(cls.__init__).parameters
    unknown = [k for k in kwargs if k not in allowed]
    if unknown:
        names = ', '.join(k for k in allowed if k != 'self')
        raise TypeError(f'{name} got an unknown argument {unknown[0]!r}; allowed: {names}')


def _source(name: str, pretrained, cache_dir):
    """A path or URL for `pretrained=`: True means the variant's published ImageNet weights."""
    if pretrained is not True:
        return pretrained
    published = weights.default_checkpoint(name)
    if published is None:
        raise weights.CheckpointError(
            f'no ImageNet weights of {name} were ever published; pass pretrained=PATH_OR_URL of your own file'
        )
    return weights.fetch(published, cache_dir=cache_dir)


def list_models(pattern: str = '*') -> list[str]:
    """Names of the registered variants, sorted; `pattern` is a shell wildcard such as 'vmamba_*'."""
    return sorted(name for name in _entrypoints if fnmatch(name, pattern))


def create_model(name: str, pretrained: bool | str = False, **kwargs) -> nn.Module:
    """Build a variant.

    Args:
        name: one of :func:`list_models`.
        pretrained: False, True (the published ImageNet weights, downloaded and cached), or a path or URL of a
            checkpoint in the family's official layout or in this project's own.
        **kwargs: the family's constructor arguments, e.g. num_classes, in_chans, drop_path_rate, and for dense
            prediction features_only, out_indices, out_norms. Unknown ones are a TypeError.

    Raises:
        ValueError: an unknown name (the message lists near ones), or an argument out of range.
        mmvssm.weights.CheckpointError: weights that cannot be read or belong to another model.
    """
    return entrypoint(name)(pretrained=pretrained, **kwargs)


def entrypoint(name: str) -> Callable:
    """The registered entry point of a variant; a ValueError with suggestions where there is none."""
    if name not in _entrypoints:
        near = difflib.get_close_matches(name, _entrypoints, n=4, cutoff=0.4) or list_models()
        raise ValueError(f'unknown model {name!r}; did you mean {", ".join(near)}? (mmvssm.list_models() has all)')
    return _entrypoints[name]


def load_weights(model: nn.Module, source, *, log: bool = True) -> weights.KeyReport:
    """Load a checkpoint into a model; every key is accounted for.

    Args:
        model: a backbone of this project.
        source: path, URL, or a state dict (wrapped as published or bare).

    Returns:
        The report of loaded, dropped and expectedly missing keys.

    Raises:
        mmvssm.weights.CheckpointError: keys are missing, left over or of a wrong shape; the message names some of
            them and the variant that the file looks like.
    """
    state = weights.unwrap(source if isinstance(source, dict) else weights.read_checkpoint(source))
    report, converted = _match(model, state)
    if not report.ok:
        raise weights.KeyMismatchError(_mismatch_message(model, state, report), report)
    own = model.state_dict()
    with torch.no_grad():
        for key in report.loaded:
            own[key].copy_(weights.fit(converted[key], own[key].shape))
    if log:
        _logger.info('%s: %s', variant_name(model), report.summary())
    return report


def variant_name(model: nn.Module) -> str:
    """The registered name, or the class's where the model was built from numbers of the user's own."""
    return getattr(model, 'variant', None) or type(model).__name__


def _match(model: nn.Module, state: dict[str, Tensor]):
    """Translate a state dict to the model's names and sort its keys."""
    converted = _fit_input(model, _filter_fn(model)(dict(state), model))
    expected = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    fresh = [prefix + '*' for prefix in model.fresh_prefixes]
    if model.features_only:
        droppable, optional = [prefix + '*' for prefix in model.head_prefixes], fresh
    else:
        head = [f'{name}.*' for name in (model.classifier_name, *model.extra_classifiers)]
        new_head = model.num_classes == 0 or _other_classes(model, expected, converted)
        droppable, optional = [*fresh, *(head if new_head else [])], head if new_head else []
    pruned = [name for name, shape in model.pruned.items() if name in converted and converted[name].shape == shape]
    for name in pruned:
        del converted[name]
    report = weights.sort_keys(expected, converted, droppable=droppable, optional=optional)
    report.dropped += pruned
    if pruned:  # a file of the whole model has them all; another variant may well share the stages that are kept
        report.missing += [name for name in model.pruned if name not in pruned]
    return report, converted


def _filter_fn(model: nn.Module) -> Callable:
    """The family's `checkpoint_filter_fn`; a subclass elsewhere (an OpenMMLab plugin) uses its base's."""
    modules = (sys.modules[base.__module__] for base in type(model).__mro__)
    return next(module.checkpoint_filter_fn for module in modules if hasattr(module, 'checkpoint_filter_fn'))


def _fit_input(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sum or repeat the first convolution's input channels when `in_chans` is not the file's (timm's rule)."""
    key = f'{model.first_conv}.weight'
    if key in state and state[key].ndim == 4 and state[key].shape[1] == 3 and model.in_chans != 3:
        return {**state, key: adapt_input_conv(model.in_chans, state[key])}
    return state


def _other_classes(model: nn.Module, expected: dict, got: dict[str, Tensor]) -> bool:
    """Whether the user asked for another number of classes than the file has, all else in the head alike."""
    key = f'{model.classifier_name}.weight'
    if key not in expected or key not in got:
        return False
    want, have = expected[key], tuple(got[key].shape)
    return want[1:] == have[1:] and want != have


def _mismatch_message(model: nn.Module, state: dict[str, Tensor], report: weights.KeyReport) -> str:
    names = identify(state)
    looks = f'it looks like {" or ".join(names)}' if names else 'it fits no registered variant'
    return f'the checkpoint does not fit {variant_name(model)}: {looks}\n{report.summary()}'


def identify(state: dict[str, Tensor]) -> list[str]:
    """Names of the registered variants that a bare state dict fits, classifier or backbone alone.

    Every variant of the families whose names it has is built on the meta device and compared by names and shapes,
    so this takes a second or two.
    """
    shapes = {k: torch.empty(v.shape, device='meta') for k, v in state.items()}
    families = {entry.cls: name for name, entry in _entrypoints.items() if name.startswith('test_')}
    candidates = [cls for cls, micro in families.items() if _same_names(micro, shapes)]
    return [name for name in list_models() if _entrypoints[name].cls in candidates and _fits(name, shapes)]


def _same_names(micro: str, state: dict[str, Tensor]) -> bool:
    """Whether most names, whatever their numbers, are those of a family's micro variant."""
    model = _meta_model(micro)
    try:
        names = {re.sub(r'\d+', '#', name) for name in _filter_fn(model)(dict(state), model)}
    except (KeyError, RuntimeError, ValueError):  # another family's filter met keys that it does not know
        return False
    return 2 * len(names & {re.sub(r'\d+', '#', name) for name in model.state_dict()}) > len(names)


def _fits(name: str, state: dict[str, Tensor]) -> bool:
    for kwargs in ({}, dict(features_only=True), dict(features_only=True, out_norms=True)):
        try:
            report, _ = _match(_meta_model(name, **kwargs), state)
        except (KeyError, RuntimeError, ValueError):  # another family's filter met keys that it does not know
            return False
        if report.loaded and report.ok:
            return True
        if 2 * len(report.loaded) < len(state):
            return False  # another width: the other forms need not be tried
    return False


@functools.cache
def _meta_model(name: str, **kwargs) -> nn.Module:
    with torch.device('meta'), _NoRandomValues():
        return create_model(name, **kwargs)


class _NoRandomValues(TorchFunctionMode):
    """Leaves out random initialisation, which is slow and vain on the meta device."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, '__name__', '') in ('normal_', 'uniform_', 'trunc_normal_', 'erfinv_'):
            return args[0] if args else kwargs['tensor']
        return func(*args, **(kwargs or {}))
