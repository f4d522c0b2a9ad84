"""Loading weights into a model, with a full account of keys; telling which variant a file is of."""

import functools
import logging
import os
import re
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmvssm import weights

from ._backbone import Backbone
from ._registry import FAMILIES, family_of

_logger = logging.getLogger('mmvssm')
NEARLY = 3  # wrong keys at most in a file that is still said to be a variant's


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
    check_source('source', source)
    model = wrapped_backbone(model)
    if any(name.endswith('_flat_param') for name, _ in model.named_parameters()):
        raise ValueError(
            "the model's parameters are sharded; nothing was loaded.\nLoad the weights before sharding it."
        )
    in_memory = isinstance(source, Mapping)
    content = source if in_memory else weights.read_checkpoint(source)
    own = weights.plain_names(model.state_dict())
    with nullcontext() if in_memory else weights.naming(source):
        state = weights.unwrap(content)
        report, converted = match_weights(model, state, label_offset)
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


def check_source(field: str, source, also: str = '') -> None:
    if not isinstance(source, str | os.PathLike | Mapping):
        raise TypeError(f"{field}={source!r} must be {also}a checkpoint's path, URL or published name, or a state dict")


def _classifiers(model: Backbone) -> tuple[str, ...]:
    """Names of the linear layers whose size is the number of classes."""
    return model.classifier_name, *model.extra_classifiers


def _check_strides(model: Backbone, options: dict) -> None:
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


def variant_name(model: nn.Module) -> str:
    """The registered name, or the class's where the model was built from numbers of the user's own."""
    return getattr(model, 'variant', None) or type(model).__name__


def match_weights(model: Backbone, state: dict[str, Tensor], label_offset: int = 0):
    """Translate a state dict to the model's names and sort its keys."""
    renamed = family_of(model).checkpoint_filter_fn(dict(state), model)
    converted = _fit_input(model, renamed)
    heads = _classifiers(model)
    if label_offset:
        converted = {k: v[label_offset:] if k.rpartition('.')[0] in heads else v for k, v in converted.items()}
    expected = {k: tuple(v.shape) for k, v in weights.plain_names(model.state_dict()).items()}
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


def _fit_input(model: Backbone, state: dict[str, Tensor]) -> dict[str, Tensor]:
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


def _other_classes(model: Backbone, expected: dict, got: dict[str, Tensor]) -> bool:
    """Whether the user asked for another number of classes than the file has, all else in the head alike."""
    key = f'{model.classifier_name}.weight'
    if key not in expected or key not in got:
        return False
    want, have = expected[key], tuple(got[key].shape)
    return want[1:] == have[1:] and want != have


def _mismatch_message(model: Backbone, state: dict[str, Tensor], report: weights.KeyReport) -> str:
    names = identify(state)
    looks = f'it {likeness(state, names)}'
    heads = tuple(f'{name}.' for name in (model.classifier_name.partition('.')[0], *model.head_prefixes))
    if variant_name(model) in names and all(key.startswith(heads) for key in report.missing):
        looks += ', without a classifier: build that with features_only=True'
    wanted = options_for(model, report.unexpected)
    return f'the checkpoint does not fit {variant_name(model)}: {looks}\n{report.summary()}{wanted}'


def options_for(model: Backbone, unexpected: list[str]) -> str:
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
    candidates = [family for family in FAMILIES.values() if _same_names(next(iter(family.variants)), shapes)]
    wrong = {name: wrong_keys(name, shapes) for name in sorted(n for family in candidates for n in family.variants)}
    return {name: keys for name, keys in wrong.items() if keys is not None}


def _same_names(variant: str, state: dict[str, Tensor]) -> bool:
    """Whether many names, whatever their numbers, are those of a family, of which one variant is given."""
    model = meta_model(variant)
    try:
        names = {re.sub(r'\d+', '#', name) for name in family_of(model).checkpoint_filter_fn(dict(state), model)}
    except (KeyError, RuntimeError, ValueError):  # the filter met keys that it does not know
        names = {re.sub(r'\d+', '#', name) for name in state}
    return 3 * len(names & {re.sub(r'\d+', '#', name) for name in model.state_dict()}) > len(names)


def wrong_keys(name: str, state: dict[str, Tensor]) -> list[str] | None:
    """The keys that are wrong in the form of a variant that has fewest of them; None where most of all are."""
    fewest = None
    for kwargs in ({}, dict(features_only=True), dict(features_only=True, out_norms=True)):
        try:
            report, _ = match_weights(meta_model(name, **kwargs), state)
        except (KeyError, RuntimeError, ValueError):  # another family's filter met keys that it does not know
            return None
        if 2 * len(report.loaded) < len(state):
            return fewest  # another width: the other forms need not be tried
        wrong = report.wrong_names
        if report.loaded and (fewest is None or len(wrong) < len(fewest)):
            fewest = wrong
        if not fewest:
            break
    return fewest


@functools.cache
def meta_model(name: str, **kwargs: Any) -> Backbone:
    with torch.device('meta'), NoValues():
        return family_of(name).build(name, **kwargs)


class NoValues(TorchFunctionMode):
    """Leaves out what only writes values: slow and vain on the meta device."""

    draws = {'normal_', 'uniform_', 'trunc_normal_', 'erfinv_', 'kaiming_uniform_', 'xavier_uniform_'}
    writers = draws | {'fill_', 'zero_', 'copy_', 'add_', 'mul_', 'clamp_', 'constant_', 'ones_', 'zeros_'}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, '__name__', '') in self.writers:
            return args[0] if args else kwargs['tensor']
        return func(*args, **(kwargs or {}))
