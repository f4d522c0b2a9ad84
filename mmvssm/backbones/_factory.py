"""Variants by name: registration (here and in timm), construction, loading of weights with a full account of keys."""

import dataclasses
import difflib
import functools
import inspect
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from fnmatch import fnmatch

import timm
import torch
from timm.models import _hub, generate_default_cfgs, register_model, resolve_pretrained_cfg
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmvssm import weights

from ._backbone import Backbone, check_choice
from ._stages import HierarchicalBackbone

_logger = logging.getLogger('mmvssm')
_entrypoints: dict[str, Callable] = {}
NEARLY = 3  # wrong keys at most in a file that is still said to be a variant's


def register_variant(cls: type) -> Callable:
    """Decorator for a function that returns the constructor arguments of one variant of `cls`.

    The function becomes an entry point `name(pretrained=False, **overrides) -> model`, known to
    :func:`create_model` and to `timm.create_model`; each published checkpoint of the variant becomes a tag of timm's.
    """

    def decorate(numbers: Callable[[], dict]) -> Callable:
        name = numbers.__name__

        @functools.wraps(numbers)
        def entrypoint(
            pretrained=False,
            pretrained_cfg=None,
            pretrained_cfg_overlay=None,
            cache_dir=None,
            pretrained_model_args=None,  # timm's, of a hub folder: it gives them as keywords too
            **kwargs,
        ):
            if pretrained is not None and not isinstance(pretrained, bool):
                _check_source('pretrained', pretrained, 'a bool, ')
            cfg = resolve_pretrained_cfg(name, pretrained_cfg, dict(pretrained_cfg_overlay or {}))
            model = _build(cls, name, cfg, {**numbers(), **kwargs})
            model._model_args = kwargs  # what timm writes into a hub folder
            if pretrained is not False and pretrained is not None:
                source = _source(name, cfg, cache_dir) if pretrained is True else pretrained
                load_weights(model, source, label_offset=cfg.label_offset or 0)
            return model

        del entrypoint.__wrapped__  # so that signatures show the entry point's own arguments
        entrypoint.cls, entrypoint.numbers = cls, numbers
        _entrypoints[name] = entrypoint
        module = sys.modules[numbers.__module__]
        vars(module).setdefault('default_cfgs', {}).update(generate_default_cfgs(_timm_cfgs(cls, name)))
        return register_model(entrypoint)

    return decorate


def _timm_cfgs(cls: type, name: str) -> dict[str, dict]:
    """timm's description of a variant's published checkpoints; * marks the default. Without any, of the variant."""
    published = [c for c in weights.PUBLISHED.values() if c.model == name]
    images = weights.evaluation(name)
    common = dict(
        pool_size=tuple(n // 32 for n in images['input_size'][1:]) if issubclass(cls, HierarchicalBackbone) else None,
        **images,
        first_conv=cls.first_conv,
        classifier=cls.classifier_name,
    )
    if not published:
        return {name: common}
    return {
        c.name + '*' * c.default: dict(
            url=c.url, license=c.license, num_classes=1000 if c.task == 'imagenet' else 0, **common
        )
        for c in published
    }


def _build(cls: type, name: str, cfg, kwargs: dict) -> nn.Module:
    """The model; what `kwargs` leave open of classes and image is as timm's configuration says."""
    # timm's name for features out of `forward_intermediates`, the one way that there is here
    check_choice('feature_cls', kwargs.pop('feature_cls', 'getter'), ('getter',))
    _reject_unknown(cls, name, kwargs)
    channels, *size = cfg.input_size
    given = dict(num_classes=cfg.num_classes, in_chans=channels)
    if cfg.fixed_input_size and 'img_size' in inspect.signature(cls.__init__).parameters:
        given['img_size'] = tuple(size)
    model = cls(**{**given, **kwargs})
    model.variant = name
    own = dict(state_dict=None, first_conv=cls.first_conv, classifier=cls.classifier_name)
    model.pretrained_cfg = model.default_cfg = dataclasses.replace(cfg, **own).to_dict()
    return model


def _reject_unknown(cls: type, name: str, kwargs: dict) -> None:
    allowed = inspect.signature(cls.__init__).parameters
    unknown = [k for k in kwargs if k not in allowed]
    if unknown:
        names = ', '.join(k for k in allowed if k != 'self')
        raise TypeError(f'{name} got an unknown argument {unknown[0]!r}; allowed: {names}')


def _source(name: str, cfg, cache_dir):
    """The state dict or path that `pretrained=True` means: the first that timm's configuration has, in timm's order."""
    if cfg.source == 'local-dir':
        return weights.weights_in(cfg.file)
    if cfg.source != 'hf-hub' and (cfg.state_dict or cfg.file):
        return cfg.state_dict or cfg.file
    if cfg.hf_hub_id:
        return weights.fetch_from_hub(_hub.download_from_hf, cfg.hf_hub_id, cfg.hf_hub_filename, cache_dir=cache_dir)
    if cfg.url:
        return weights.download(cfg.url, cache_dir=cache_dir)
    raise weights.CheckpointError(
        f'no ImageNet weights of {name} were ever published; pass pretrained=PATH_OR_URL of your own file'
    )


def list_models(pattern: str = '*') -> list[str]:
    """Names of the registered variants, sorted; `pattern` is a shell wildcard such as 'vmamba_*'."""
    return sorted(name for name in _entrypoints if fnmatch(name, pattern))


def create_model(name: str, pretrained: bool | str = False, **kwargs) -> nn.Module:
    """Build a variant.

    Args:
        name: one of :func:`list_models`; or a published checkpoint's name (`vil2_tiny.e400_in1k`), which
            `pretrained=True` then means; or, as in timm, 'hf-hub:OWNER/NAME' or 'local-dir:FOLDER'.
        pretrained: False, True (the published ImageNet weights, downloaded and cached), or a path or URL of a
            checkpoint in the family's official layout or in this project's own.
        **kwargs: the family's constructor arguments, e.g. num_classes, in_chans, drop_path_rate, and for dense
            prediction features_only, out_indices, out_norms; and timm's pretrained_cfg, pretrained_cfg_overlay and
            cache_dir. Unknown ones are a TypeError.

    Raises:
        ValueError: an unknown name (the message lists near ones), or an argument out of range.
        TypeError: a name that is no str, a `pretrained` of another type, an unknown argument.
        mmvssm.weights.CheckpointError: weights that cannot be read or belong to another model.
    """
    if not isinstance(name, str):
        raise TypeError(f'name={name!r} must be a str, one of mmvssm.list_models()')
    if ':' in name:
        return timm.create_model(name, pretrained=pretrained, **kwargs)
    build = entrypoint(name)
    if '.' in name:
        kwargs.setdefault('pretrained_cfg', name.partition('.')[2])
    return build(pretrained=pretrained, **kwargs)


def entrypoint(name: str) -> Callable:
    """The entry point of a variant or published checkpoint; a ValueError with suggestions where there is none."""
    variant, dot, _ = name.partition('.')
    if dot and variant in _entrypoints and name not in weights.PUBLISHED:
        tags = ', '.join(c.name for c in weights.PUBLISHED.values() if c.model == variant)
        raise ValueError(f'unknown model {name!r}; of {variant} are published: {tags or "none"}')
    if variant not in _entrypoints:
        known = [*_entrypoints, *weights.PUBLISHED]
        near = difflib.get_close_matches(name, known, n=4, cutoff=0.4) or list_models()
        raise ValueError(f'unknown model {name!r}; did you mean {", ".join(near)}? (mmvssm.list_models() has all)')
    return _entrypoints[variant]


def load_weights(model: nn.Module, source, *, label_offset: int = 0, log: bool = True) -> weights.KeyReport:
    """Load a checkpoint into a model; every key is accounted for.

    Args:
        model: a backbone of this project, or one in the wrappers of torch.compile, data parallelism or averaging.
        source: path, URL, a published checkpoint's name, or a state dict (wrapped as published or bare).
        label_offset: classes at the beginning of the file's classifier that are left out (timm's background class).

    Returns:
        The report of loaded, dropped and expectedly missing keys.

    Raises:
        mmvssm.weights.CheckpointError: keys are missing, left over or of a wrong shape (the message names some of
            them and the variant that the file looks like), or values are not finite numbers.
        ValueError: the model is on the meta device, or sharded.
        TypeError: the model is none of this project's, or the source of another type.

    The account goes to the logger 'mmvssm' as information; that a classifier keeps its fresh values, as a warning.
    """
    _check_source('source', source)
    model = wrapped_backbone(model)
    if any(name.endswith('_flat_param') for name, _ in model.named_parameters()):
        raise ValueError(
            "the model's parameters are sharded; nothing was loaded.\nLoad the weights before sharding it."
        )
    in_memory = isinstance(source, Mapping)
    content = source if in_memory else weights.read_checkpoint(source)
    own = _own_tensors(model)
    with nullcontext() if in_memory else weights.naming(source):
        state = weights.unwrap(content)
        report, converted = _match(model, state, label_offset)
        if not report.ok:
            raise weights.KeyMismatchError(_mismatch_message(model, state, report), report)
        _check_strides(model, state.options)
        values = {key: weights.prepare(key, converted[key], own[key]) for key in report.loaded}
    with torch.no_grad():
        for key, value in values.items():
            own[key].copy_(value)
    report.dropped += state.dropped
    if log:
        _logger.info('%s: %s', variant_name(model), report.summary())
        if fresh := [key for key in report.expected_missing if key.rpartition('.')[0] in _classifiers(model)]:
            classes = len(converted[f'{model.classifier_name}.weight']) + label_offset
            _logger.warning(
                '%s: the classifier keeps its fresh values (%s): %s has %d classes, the model %d',
                *(variant_name(model), ', '.join(fresh), 'the file' if in_memory else source),
                *(classes, model.num_classes),
            )
    return report


def _check_source(field: str, source, also: str = '') -> None:
    if not isinstance(source, str | os.PathLike | Mapping):
        raise TypeError(f"{field}={source!r} must be {also}a checkpoint's path, URL or published name, or a state dict")


def _classifiers(model: Backbone) -> tuple[str, ...]:
    """Names of the linear layers whose size is the number of classes."""
    return model.classifier_name, *model.extra_classifiers


def _check_strides(model: nn.Module, options: dict) -> None:
    """Raise a CheckpointError where the file records a size that changes what the same tensors compute."""
    for field in ('patch_size', 'stride'):
        recorded, own = options.get(field), getattr(model, field, None)
        if isinstance(recorded, int) and own is not None and recorded != own:
            raise weights.CheckpointError(
                f'the checkpoint is of a model with {field}={recorded}; {variant_name(model)} has {field}={own}.\n'
                f'Set {field}={recorded}, or give the state dict alone to start from it.'
            )


def wrapped_backbone(model: nn.Module) -> Backbone:
    """The backbone in wrappers that add no parameters of their own; a TypeError for any other module."""
    found = [module for module in model.modules() if isinstance(module, Backbone)]
    if len(found) == 1 and set(model.parameters()) == set(found[0].parameters()):
        return found[0]
    inside = f', but holds {len(found)} of them: give one, as model.backbone' if found else ''
    raise TypeError(f'{type(model).__name__} is no backbone of this project, wrapped or not{inside}')


def _own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The model's tensors by their plain names, without those of wrappers around its blocks."""
    return {weights.plain_name(name): value for name, value in model.state_dict().items()}


def variant_name(model: nn.Module) -> str:
    """The registered name, or the class's where the model was built from numbers of the user's own."""
    return getattr(model, 'variant', None) or type(model).__name__


def _match(model: nn.Module, state: dict[str, Tensor], label_offset: int = 0):
    """Translate a state dict to the model's names and sort its keys."""
    renamed = _filter_fn(model)(dict(state), model)
    converted = _fit_input(model, renamed)
    heads = _classifiers(model)
    if label_offset:
        converted = {k: v[label_offset:] if k.rpartition('.')[0] in heads else v for k, v in converted.items()}
    expected = {k: tuple(v.shape) for k, v in _own_tensors(model).items()}
    fresh = [prefix + '*' for prefix in model.fresh_prefixes]
    if model.features_only:
        droppable, optional = [prefix + '*' for prefix in model.head_prefixes], fresh
    else:
        head = [f'{name}.*' for name in heads]
        new_head = model.num_classes == 0 or _other_classes(model, expected, converted)
        droppable, optional = [*fresh, *(head if new_head else [])], head if new_head else []
    pruned = [name for name, shape in model.pruned.items() if name in converted and converted[name].shape == shape]
    for name in pruned:
        del converted[name]
    report = weights.sort_keys(expected, converted, droppable=droppable, optional=optional)
    report.dropped += pruned
    first = f'{model.first_conv}.weight'
    if first in report.loaded and converted[first] is not renamed[first]:
        report.adapted.append((first, expected[first], tuple(renamed[first].shape)))
    if pruned:  # a file of the whole model has them all; another variant may well share the stages that are kept
        report.missing += [name for name in model.pruned if name not in pruned]
    return report, converted


def _filter_fn(model: nn.Module) -> Callable:
    """The family's `checkpoint_filter_fn`; a subclass elsewhere (an OpenMMLab plugin) uses its base's."""
    modules = (sys.modules[base.__module__] for base in type(model).__mro__)
    return next(module.checkpoint_filter_fn for module in modules if hasattr(module, 'checkpoint_filter_fn'))


def _fit_input(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Fit the first convolution to `in_chans` by timm's rule, whatever number of channels the file has.

    For one channel the file's are summed; for more they are repeated in order, scaled by old / new: an image whose
    channels are all equal means the same to a file of one channel and to a model of several, and the other way round.
    """
    key = f'{model.first_conv}.weight'
    kernel = state.get(key)
    if kernel is None or kernel.ndim != 4 or kernel.shape[1] in (0, model.in_chans):
        return state
    have, want = kernel.shape[1], model.in_chans
    wide = kernel if kernel.dtype == torch.float64 else kernel.float()
    if want == 1:
        fitted = wide.sum(dim=1, keepdim=True)
    else:
        fitted = wide.repeat(1, -(-want // have), 1, 1)[:, :want] * (have / want)
    return {**state, key: fitted.to(kernel.dtype)}


def _other_classes(model: nn.Module, expected: dict, got: dict[str, Tensor]) -> bool:
    """Whether the user asked for another number of classes than the file has, all else in the head alike."""
    key = f'{model.classifier_name}.weight'
    if key not in expected or key not in got:
        return False
    want, have = expected[key], tuple(got[key].shape)
    return want[1:] == have[1:] and want != have


def _mismatch_message(model: nn.Module, state: dict[str, Tensor], report: weights.KeyReport) -> str:
    names = identify(state)
    looks = f'it {likeness(state, names)}'
    heads = tuple(f'{name}.' for name in (model.classifier_name.partition('.')[0], *model.head_prefixes))
    if variant_name(model) in names and all(key.startswith(heads) for key in report.missing):
        looks += ', without a classifier: build that with features_only=True'
    wanted = options_for(model, report.unexpected)
    return f'the checkpoint does not fit {variant_name(model)}: {looks}\n{report.summary()}{wanted}'


def options_for(model: nn.Module, unexpected: list[str]) -> str:
    """What to set for a model that has the keys which this one has not; '' where that is not known."""
    found = [text for prefix, text in model.key_options.items() if any(key.startswith(prefix) for key in unexpected)]
    if model.features_only and not model.out_norms and any(key.startswith(model.fresh_prefixes) for key in unexpected):
        found.append('out_norms=True')
    return f'; such a file wants {", ".join(found)}' if found else ''


def identify(state: dict[str, Tensor]) -> list[str]:
    """Names of the registered variants that a bare state dict fits, classifier or backbone alone.

    Every variant of the families whose names it has is built on the meta device and compared by names and shapes,
    so this takes a second or two.
    """
    return [name for name, wrong in _compared(state).items() if not wrong]


def likeness(state: dict[str, Tensor], names: list[str]) -> str:
    """What a bare state dict is, in words: `names` as `identify` has them, else the variants that it nearly fits."""
    if names:
        return f'looks like {" or ".join(names)}'
    compared = _compared(state)
    fewest = min(compared.values(), key=len, default=())
    if 0 < len(fewest) <= NEARLY:
        near = [name for name, wrong in compared.items() if len(wrong) == len(fewest)]
        return f'is {" or ".join(near)} but for {", ".join(fewest)}'
    return 'fits no registered variant'


def _compared(state: dict[str, Tensor]) -> dict[str, list[str]]:
    """Variant -> the keys that are wrong if a bare state dict is its own, of the variants that have most of it."""
    shapes = {k: torch.empty(v.shape, device='meta') for k, v in state.items()}
    one_each = {entry.cls: name for name, entry in reversed(_entrypoints.items())}
    candidates = [cls for cls, name in one_each.items() if _same_names(name, shapes)]
    wrong = {name: _wrong_keys(name, shapes) for name in list_models() if _entrypoints[name].cls in candidates}
    return {name: keys for name, keys in wrong.items() if keys is not None}


def _same_names(variant: str, state: dict[str, Tensor]) -> bool:
    """Whether many names, whatever their numbers, are those of a family, of which one variant is given."""
    model = _meta_model(variant)
    try:
        names = {re.sub(r'\d+', '#', name) for name in _filter_fn(model)(dict(state), model)}
    except (KeyError, RuntimeError, ValueError):  # the filter met keys that it does not know
        names = {re.sub(r'\d+', '#', name) for name in state}
    return 3 * len(names & {re.sub(r'\d+', '#', name) for name in model.state_dict()}) > len(names)


def _wrong_keys(name: str, state: dict[str, Tensor]) -> list[str] | None:
    """The keys that are wrong in the form of a variant that has fewest of them; None where most of all are."""
    fewest = None
    for kwargs in ({}, dict(features_only=True), dict(features_only=True, out_norms=True)):
        try:
            report, _ = _match(_meta_model(name, **kwargs), state)
        except (KeyError, RuntimeError, ValueError):  # another family's filter met keys that it does not know
            return None
        if 2 * len(report.loaded) < len(state):
            return fewest  # another width: the other forms need not be tried
        wrong = [*report.missing, *report.unexpected, *(key for key, *_ in report.mismatched)]
        if report.loaded and (fewest is None or len(wrong) < len(fewest)):
            fewest = wrong
        if not fewest:
            break
    return fewest


@functools.cache
def _meta_model(name: str, **kwargs) -> nn.Module:
    with torch.device('meta'), _NoValues():
        return create_model(name, **kwargs)


class _NoValues(TorchFunctionMode):
    """Leaves out what only writes values: slow and vain on the meta device."""

    draws = {'normal_', 'uniform_', 'trunc_normal_', 'erfinv_', 'kaiming_uniform_', 'xavier_uniform_'}
    writers = draws | {'fill_', 'zero_', 'copy_', 'add_', 'mul_', 'clamp_', 'constant_', 'ones_', 'zeros_'}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, '__name__', '') in self.writers:
            return args[0] if args else kwargs['tensor']
        return func(*args, **(kwargs or {}))
