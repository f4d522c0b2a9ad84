"""Finding the weights in a checkpoint, under whatever wrappers and prefixes."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from .errors import CheckpointError, NotACheckpointError, quoted

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
PART = re.compile(r'(?:\b\w*backbone|encoder)\.(?:net\.)?$')  # mmengine's, ViL's and detectron2's name of a backbone
AVERAGED = re.compile(r'(^|[._])ema([._]|$)')

PreferEMA = bool | Literal['auto']


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
        names = ', '.join(map(quoted, list(obj)[:8])) if isinstance(obj, Mapping) and obj else 'nothing'
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
            f"Use prefer_ema='auto'; its keys are {', '.join(map(quoted, list(obj)[:8]))}."
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
        double = next(name for name, count in Counter(names.values()).items() if count > 1)
        raise CheckpointError(
            f'the checkpoint holds {quoted(double)} twice, with and without a prefix.\n'
            'Save one of the two models alone.'
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
        these = ' and '.join(quoted(prefix) for prefix in found[:4])
        raise CheckpointError(
            f'the checkpoint holds {len(found)} backbones, under {these}.\n'
            'Give one: {name: value for name, value in state.items() if name.startswith(PREFIX)}.'
        )
    if found:
        return found[0]
    levels = zip(*(name.split('.')[:-1] for name in names)) if len(names) > 1 else ()
    return ''.join(f'{level[0]}.' for level in takewhile(lambda level: len(set(level)) == 1, levels))
