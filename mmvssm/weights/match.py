"""Finding the weights in a checkpoint, and comparing their names and shapes with a model's."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import takewhile
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from .errors import CheckpointError, KeyMismatchError, NotACheckpointError

PLAIN = (
    'state_dict',
    'model',
    'module',
    'model_state_dict',
    'model_state',
    'net',
    'network',
    'params',
    'weights',
)
EMA = ('model_ema', 'ema_model', 'state_dict_ema', 'model_ema_state_dict', 'params_ema', 'ema')
# mmengine's EMAHook saves the averaged weights as 'state_dict' and the others under this name
SWAPPED = 'ema_state_dict'

# What data-parallel and compiled models and torch's checkpoint wrappers put into names; no module of ours.
NOISE = re.compile(r'(^|(?<=\.))(module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.')
COUNTERS = ('n_averaged', 'steps')
BUFFERS = re.compile(r'(running_mean|running_var|num_batches_tracked|freqs_cos|freqs_sin)$')
STEM = re.compile(r'(.*?)\bpatch_embed\d*\.')  # every family begins with one: what stands before it is the prefix
PART = re.compile(r'(?:\w*backbone|encoder)\.(?:net\.)?$')  # mmengine's, ViL's and detectron2's name of a backbone
AVERAGED = re.compile(r'(^|[._])ema([._]|$)')

PreferEMA = bool | Literal['auto']
Shape = tuple[int, ...]
Reshaped = tuple[str, Shape, Shape]  # name, shape in the model, shape in the file


class Weights(dict[str, Tensor]):
    """A state dict, name -> tensor, that remembers where in the checkpoint it was found.

    Args:
        tensors: name -> tensor.
        wrapper: the keys that led to it ('model_ema', 'state_dict'; '' for a bare dict).
        prefix: what was cut off in front of the names ('module.', 'backbone.').
        dropped: names of the entries left out (a detector's neck and heads; entries that are not tensors).
        sources: name -> name in the file.
        options: what the checkpoint records of the model's constructor (ViL's `ctor_kwargs`).
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]] = (),
        wrapper: str = '',
        prefix: str = '',
        dropped: Iterable[str] = (),
        sources: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
    ):
        super().__init__(tensors)
        self.wrapper, self.prefix, self.dropped, self.options = wrapper, prefix, list(dropped), dict(options or {})
        self.sources = dict(sources) if sources is not None else {name: name for name in self}

    @property
    def num_params(self) -> int:
        """Elements of the weights; running statistics and rotary tables are not counted."""
        return sum(value.numel() for name, value in self.items() if not BUFFERS.search(name))


def unwrap(obj: Any, prefer_ema: PreferEMA = 'auto', whole: bool = False) -> Weights:
    """The model's weights in a checkpoint's content, without wrappers and prefixes.

    Whatever stands before the names of the backbone (`split_prefix`) is cut off, and the rest of a larger model left
    out: `.dropped` has its names.

    Args:
        obj: what `read_checkpoint` gave.
        prefer_ema: True or False takes the averaged or the plain weights of a checkpoint that holds both.
            'auto' takes what the authors publish: the averaged ones, except in the files of Vim's trainer
            (they hold `args`), whose results are those of `model`.
        whole: keep a detector's or segmentor's neck and heads too; its names are then as mmengine has them,
            'backbone.' and so on.

    Raises:
        NotACheckpointError: there are no weights.
        CheckpointError: there are no averaged ones but they are asked for, or there are several models.
    """
    return _strip(find_weights(obj, prefer_ema), prefer_ema, whole)


def find_weights(obj: Any, prefer_ema: PreferEMA = 'auto') -> Weights:
    """The state dict in a checkpoint's content, under the names of the file; see `unwrap`."""
    if prefer_ema not in ('auto', True, False):
        raise CheckpointError(f"prefer_ema={prefer_ema!r}: give 'auto', True or False.")
    path: list[str] = []
    options = obj.get('ctor_kwargs') if isinstance(obj, Mapping) else None
    while (key := _wrapper_key(obj, prefer_ema if not path else False)) is not None:
        path.append(key)
        obj = obj[key]
    if not _is_state_dict(obj):
        names = ', '.join(map(repr, list(obj)[:8])) if isinstance(obj, Mapping) and obj else 'nothing'
        raise NotACheckpointError(
            f'the checkpoint holds no weights; it holds {names[:200]}.\n'
            'Give a file saved from model.state_dict(), or a training checkpoint that includes it.'
        )
    tensors, dropped = {}, []
    for name, value in obj.items():
        value = torch.from_numpy(value) if isinstance(value, np.ndarray) and value.dtype.kind in 'fiub' else value
        if isinstance(value, torch.Tensor) and value.layout is torch.strided and isinstance(name, str):
            tensors[name] = value.detach()
        else:
            dropped.append(str(name))
    return Weights(tensors, '.'.join(path), '', dropped, options=options if isinstance(options, Mapping) else None)


def _is_state_dict(obj: Any) -> bool:
    """Whether a dict holds tensors directly: more of them than of sub-dicts."""
    if not isinstance(obj, Mapping):
        return False
    direct = sum(isinstance(value, (torch.Tensor, np.ndarray)) for value in obj.values())
    return direct > sum(isinstance(value, Mapping) for value in obj.values())


def _wrapper_key(obj: Any, prefer_ema: PreferEMA) -> str | None:
    """The key under which the wanted weights lie; None where `obj` is the state dict itself or has none."""
    if not isinstance(obj, Mapping) or _is_state_dict(obj):
        return None
    plain = next((key for key in PLAIN if _holds_weights(obj.get(key))), None)
    averaged = next((key for key in EMA if _holds_weights(obj.get(key))), None)
    if _holds_weights(obj.get(SWAPPED)) and plain is not None:
        plain, averaged = SWAPPED, plain
    if prefer_ema is True and averaged is None:
        raise CheckpointError(
            'the checkpoint holds no averaged (EMA) weights.\n'
            f"Use prefer_ema='auto'; its keys are {', '.join(map(repr, list(obj)[:8]))}."
        )
    from_vim = 'args' in obj and averaged == 'model_ema'
    if averaged is not None and (prefer_ema is True or plain is None or (prefer_ema == 'auto' and not from_vim)):
        return averaged
    return plain


def _holds_weights(value: Any, depth: int = 3) -> bool:
    if not isinstance(value, Mapping) or depth == 0:
        return False
    return _is_state_dict(value) or any(_holds_weights(value.get(key), depth - 1) for key in (*PLAIN, *EMA))


def _strip(weights: Weights, prefer_ema: PreferEMA, whole: bool) -> Weights:
    """Cuts prefixes off the names, and takes the backbone's part of a larger model unless `whole`."""
    names = {name: plain_name(name) for name in weights if name not in COUNTERS}
    noise = next((name.removesuffix(new) for name, new in names.items() if name != new and name.endswith(new)), '')
    prefix = split_prefix(names.values(), prefer_ema)
    within = tuple(other for other in _prefixes(names.values()) if other != prefix and other.startswith(prefix))
    prefix = PART.sub('', prefix) if whole else prefix
    names = {
        name: new[len(prefix) :]
        for name, new in names.items()
        if new.startswith(prefix) and not (within and new.startswith(within))
    }
    taken = {new: weights[name] for name, new in names.items()}
    if len(taken) < len(names):
        new = list(names.values())
        double = next(name for name in new if new.count(name) > 1)
        raise CheckpointError(
            f'the checkpoint holds {double!r} twice, with and without a prefix.\nSave one of the two models alone.'
        )
    dropped = [*weights.dropped, *(name for name in weights if name not in names)]
    sources = {new: name for name, new in names.items()}
    return Weights(taken, weights.wrapper, noise + prefix, dropped, sources, weights.options)


def plain_name(name: str) -> str:
    """A tensor's name without what data-parallel, compiled and sharded models put into it."""
    return NOISE.sub('', name)


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict under its `plain_name`s."""
    return {plain_name(name): value for name, value in state.items()}


def _prefixes(names: Iterable[str]) -> list[str]:
    """What stands before patch embeddings, each once."""
    return list(dict.fromkeys(match[1] for name in names if (match := STEM.match(name))))


def split_prefix(names: Iterable[str], prefer_ema: PreferEMA = 'auto') -> str:
    """What stands before the names of the backbone, 'model.backbone.net.': found by its patch embedding.

    Of a model and its average under two prefixes, the average (a prefix with 'ema') is taken unless `prefer_ema` is
    False. Without a patch embedding it is what all names have in common.

    Raises:
        CheckpointError: there are other pairs, teachers and students.
    """
    names = list(names)
    found = _prefixes(names)
    if len(found) == 2 and len(averaged := [prefix for prefix in found if AVERAGED.search(prefix)]) == 1:
        found = averaged if prefer_ema else [prefix for prefix in found if prefix not in averaged]
    if len(found) > 1:
        these = ' and '.join(repr(prefix) for prefix in found[:4])
        raise CheckpointError(
            f'the checkpoint holds {len(found)} backbones, under {these}.\n'
            'Give one: {name: value for name, value in state.items() if name.startswith(PREFIX)}.'
        )
    if found:
        return found[0]
    levels = zip(*(name.split('.')[:-1] for name in names)) if len(names) > 1 else ()
    return ''.join(f'{level[0]}.' for level in takewhile(lambda level: len(set(level)) == 1, levels))


@dataclass
class KeyReport:
    """A checkpoint's names sorted by what becomes of them. `ok` says whether nothing is wrong."""

    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # the model has it, the file does not, and that is an error
    expected_missing: list[str] = field(default_factory=list)  # ... and that is as it should be (out-norms)
    dropped: list[str] = field(default_factory=list)  # the file has it, the model should not (classifier)
    unexpected: list[str] = field(default_factory=list)  # the file has it, the model does not, and that is an error
    mismatched: list[Reshaped] = field(default_factory=list)  # the shapes differ, and that is an error
    adapted: list[Reshaped] = field(default_factory=list)  # ... of what was loaded, made to fit the model's input

    @property
    def ok(self) -> bool:
        return not self.wrong_names

    @property
    def wrong_names(self) -> list[str]:
        """The keys that are wrong."""
        return [*self.missing, *self.unexpected, *(name for name, *_ in self.mismatched)]

    @property
    def wrong(self) -> str:
        """One line on the keys that are wrong; empty where `ok`."""
        return '' if self.ok else self.summary()

    def summary(self) -> str:
        """One line: how many keys of each kind, and the first of them but for those that were loaded as they are."""
        parts = [f'{len(self.loaded)} loaded']
        for label, names in (('missing', self.missing), ('unexpected', self.unexpected)):
            if names:
                parts.append(f'{len(names)} {label} ({_few(names)})')
        if self.mismatched:
            name, want, got = self.mismatched[0]
            more = ', ...' if len(self.mismatched) > 1 else ''
            parts.append(f'{len(self.mismatched)} of a wrong shape ({name}: {_x(got)} instead of {_x(want)}{more})')
        for label, names in (('dropped', self.dropped), ('kept fresh', self.expected_missing)):
            if names:
                parts.append(f'{len(names)} {label} ({_few(names)})')
        parts += [f'{name} adapted from {_x(got)} to {_x(want)}' for name, want, got in self.adapted]
        return ', '.join(parts)

    def __str__(self) -> str:
        lines = [f'{len(self.loaded)} tensors loaded']
        for label, names in (
            ('missing', self.missing),
            ('missing, as expected', self.expected_missing),
            ('left out, as expected', self.dropped),
            ('unexpected', self.unexpected),
        ):
            if names:
                lines.append(f'{len(names)} {label}: {_few(names, 12)}')
        lines += [f'wrong shape: {name} is {_x(got)}, should be {_x(want)}' for name, want, got in self.mismatched[:12]]
        return '\n'.join(lines)

    def excusing(self, names: Iterable[str]) -> 'KeyReport':
        """The report without what is wrong with some names."""
        names = set(names)
        return replace(
            self,
            missing=[name for name in self.missing if name not in names],
            unexpected=[name for name in self.unexpected if name not in names],
            mismatched=[entry for entry in self.mismatched if entry[0] not in names],
        )

    def joined(self, place: str, rest: 'KeyReport') -> 'KeyReport':
        """The report on a larger model: this one's names with `place` before them, then those of the rest."""
        return KeyReport(
            *(
                [*((place + n[0], *n[1:]) if isinstance(n, tuple) else place + n for n in mine), *others]
                for mine, others in zip(vars(self).values(), vars(rest).values())
            )
        )

    def raise_if_wrong(self, what: str = 'the checkpoint', hint: str = '') -> None:
        """Two lines: the keys; `hint`.

        Raises:
            KeyMismatchError: it is not `ok`.
        """
        if not self.ok:
            raise KeyMismatchError(
                f'{what} does not fit the model: {self.summary()}.' + (f'\n{hint}' if hint else ''), self
            )


def sort_keys(
    expected: Mapping, got: Mapping, droppable: Iterable[str] = (), optional: Iterable[str] = ()
) -> KeyReport:
    """Sorts the names of a checkpoint against those of a model.

    A linear weight may be (O, I) on one side and (O, I, 1, 1) on the other: it is loaded, `fit` reshapes it.
    A name of a wrong shape that is both droppable and optional (a head for other classes) is dropped.

    Args:
        expected: name -> shape (or tensor) of the model.
        got: the same of the file.
        droppable: prefixes or shell patterns of names that the file may have and the model not ('classifier.').
        optional: prefixes or shell patterns of names that the model may have and the file not ('outnorm').
    """
    droppable, optional = tuple(droppable), tuple(optional)
    report = KeyReport()
    for name, want in expected.items():
        want = _shape(want)
        if name not in got:
            (report.expected_missing if _matches(name, optional) else report.missing).append(name)
        elif fits(want, have := _shape(got[name])):
            report.loaded.append(name)
        elif _matches(name, droppable) and _matches(name, optional):
            report.dropped.append(name)
            report.expected_missing.append(name)
        else:
            report.mismatched.append((name, want, have))
    for name in got:
        if name not in expected:
            (report.dropped if _matches(name, droppable) else report.unexpected).append(name)
    return report


def fits(want: Iterable[int], have: Iterable[int]) -> bool:
    """Whether two shapes are equal, or those of one linear weight as matrix and as 1x1 convolution."""
    want, have = tuple(want), tuple(have)
    short, long = sorted((want, have), key=len)
    return want == have or (len(short) == 2 and long == (*short, 1, 1))


def fit(tensor: Tensor, shape: Iterable[int]) -> Tensor:
    """The tensor in the model's shape, a 1x1 of a convolution added or removed.

    Raises:
        ValueError: the shapes differ by more.
    """
    if not fits(shape, tensor.shape):
        raise ValueError(f'a tensor of shape {_x(tensor.shape)} does not fit {_x(shape)}')
    return tensor.reshape(tuple(shape))


def _shape(value: Any) -> Shape:
    return tuple(getattr(value, 'shape', value))


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(name.startswith(pattern) or fnmatchcase(name, pattern) for pattern in patterns)


def _few(names: list[str], limit: int = 3) -> str:
    return ', '.join(names[:limit]) + (', ...' if len(names) > limit else '')


def _x(shape: Iterable[int]) -> str:
    return 'x'.join(map(str, shape)) or 'scalar'
