"""Nested content as one safetensors file, and back.

The tensors keep plain names, so that any reader of safetensors can use them. What safetensors cannot express (the
nesting, the order of keys, numbers and strings) stands in the metadata as JSON.
"""

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from .errors import CheckpointError, first_line
from .match import Weights

KEY = 'mmvssm.content'  # of the metadata
VERSION = 1


def write_safetensors(content: dict, path: Path, weights: Weights) -> None:
    """Writes nested content as one safetensors file; the tensors found by `weights` get its names.

    Raises:
        CheckpointError: safetensors cannot hold a tensor of it.
    """
    from safetensors.torch import save_file

    at = tuple(weights.wrapper.split('.')) if weights.wrapper else ()
    names = {(*at, source): name for name, source in weights.sources.items()}
    tensors: dict[str, torch.Tensor] = {}
    tree = _encode(content, (), names, tensors)
    try:
        save_file(tensors, path, metadata={'format': 'pt', KEY: json.dumps({'version': VERSION, 'content': tree})})
    except (KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f'{path}: safetensors cannot hold this: {first_line(error, 120)}') from None


def _encode(value: Any, path: tuple, names: dict[tuple, str], tensors: dict[str, torch.Tensor]) -> Any:
    """JSON for a value; its tensors are added to `tensors`. Kinds: t(ensor), d(ict), o(rdered), l(ist), u (tuple)."""
    if isinstance(value, torch.Tensor):
        name = names.get(path) or '.'.join(map(str, path))
        while name in tensors:
            name += '_'
        tensors[name] = value.clone(memory_format=torch.contiguous_format)
        return {'t': name}
    if isinstance(value, dict):
        kind = 'o' if isinstance(value, OrderedDict) else 'd'
        return {kind: [[key, _encode(item, (*path, key), names, tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = 'l' if isinstance(value, list) else 'u'
        return {kind: [_encode(item, (*path, i), names, tensors) for i, item in enumerate(value)]}
    return value


def restore(metadata: dict[str, str] | None, tensors: dict[str, torch.Tensor]) -> dict:
    """The original content of a converted file; of any other safetensors file, its tensors as they are.

    Raises:
        ValueError: another version of mmvssm converted it.
    """
    if not metadata or KEY not in metadata:
        return tensors
    stored = json.loads(metadata[KEY])
    if stored['version'] != VERSION:
        raise ValueError(f'it was converted by another version of mmvssm ({stored["version"]})')
    return _decode(stored['content'], tensors)


def _decode(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == 't':
        return tensors[held]
    if kind in 'do':
        return (OrderedDict if kind == 'o' else dict)((key, _decode(item, tensors)) for key, item in held)
    return {'l': list, 'u': tuple}[kind](_decode(item, tensors) for item in held)
