"""Nested content as one safetensors file, and back.

The tensors keep plain names, so that any reader of safetensors can use them. What safetensors cannot express (the
nesting, the order of keys, numbers and strings) stands in the metadata as JSON.
"""

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from .errors import CheckpointError, first_line, place, quoted
from .match import Weights

KEY = 'mmvssm.content'  # of the metadata
VERSION = 2
READABLE = (1, 2)  # version 1 wrote a shared container wherever it was mentioned


def write_safetensors(content: dict, path: Path, weights: Weights) -> None:
    """Writes nested content as one safetensors file; the tensors found by `weights` get its names.

    Raises:
        CheckpointError: safetensors cannot hold a tensor of it.
    """
    from safetensors.torch import save_file

    at = tuple(weights.wrapper.split('.')) if weights.wrapper else ()
    names = {(*at, source): name for name, source in weights.sources.items()}
    tensors: dict[str, torch.Tensor] = {}
    tree = _Encoder(names, tensors).encode(content, ())
    try:
        save_file(tensors, path, metadata={'format': 'pt', KEY: json.dumps({'version': VERSION, 'content': tree})})
    except (KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f'{place(path)}: safetensors cannot hold this: {first_line(error, 120)}') from None


class _Encoder:
    """JSON for nested values, whose tensors are added to `tensors`.

    Kinds: t(ensor), d(ict), o(rdered), l(ist), u (tuple), and r for a container that was r-th to be complete.
    """

    def __init__(self, names: dict[tuple, str], tensors: dict[str, torch.Tensor]):
        self.names, self.tensors = names, tensors
        self.complete: dict[int, int] = {}
        self.known: dict[int, str] = {}  # tensors beside the weights: name, by identity

    def encode(self, value: Any, path: tuple) -> Any:
        if isinstance(value, torch.Tensor):
            return {'t': self.tensor(value, path)}
        if not isinstance(value, (dict, list, tuple)):
            return value
        if id(value) in self.complete:
            return {'r': self.complete[id(value)]}
        if isinstance(value, dict):
            kind = 'o' if isinstance(value, OrderedDict) else 'd'
            held = [[key, self.encode(item, (*path, key))] for key, item in value.items()]
        else:
            kind = 'l' if isinstance(value, list) else 'u'
            held = [self.encode(item, (*path, i)) for i, item in enumerate(value)]
        self.complete[id(value)] = len(self.complete)
        return {kind: held}

    def tensor(self, value: torch.Tensor, path: tuple) -> str:
        """The name that a tensor gets; each of the weights has its own."""
        if path not in self.names and id(value) in self.known:
            return self.known[id(value)]
        name = self.names.get(path) or '.'.join(map(str, path))
        while name in self.tensors:
            name += '_'
        self.tensors[name] = value.clone(memory_format=torch.contiguous_format)
        self.known.setdefault(id(value), name)
        return name


def restore(metadata: dict[str, str] | None, tensors: dict[str, torch.Tensor]) -> dict:
    """The original content of a converted file; of any other safetensors file, its tensors as they are.

    Raises:
        ValueError: another version of mmvssm converted it.
    """
    if not metadata or KEY not in metadata:
        return tensors
    stored = json.loads(metadata[KEY])
    if stored['version'] not in READABLE:
        raise ValueError(f'it was converted by another version of mmvssm ({quoted(stored["version"])})')
    return _decode(stored['content'], tensors, [])


def _decode(value: Any, tensors: dict[str, torch.Tensor], complete: list[Any]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == 't':
        return tensors[held]
    if kind == 'r':
        return complete[held]
    if kind in 'do':
        made = (OrderedDict if kind == 'o' else dict)((key, _decode(item, tensors, complete)) for key, item in held)
    else:
        made = {'l': list, 'u': tuple}[kind](_decode(item, tensors, complete) for item in held)
    complete.append(made)
    return made
