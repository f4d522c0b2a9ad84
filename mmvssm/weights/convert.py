"""Official files as safetensors and back, bit for bit.

A converted file holds every tensor of the original: the model's weights under their plain names, without wrappers and
prefixes, so that any reader of safetensors can use them; the rest under their full path. What safetensors cannot
express (the nesting, the order of keys, numbers and strings) stands in its metadata as JSON, from which
`read_checkpoint` builds the original content again. Objects of foreign classes, which are never loaded, come back as
the plain values that they held.
"""

import json
import os
from collections import OrderedDict
from pathlib import Path

import torch

from .errors import CheckpointError, naming
from .inert import Inert
from .match import Weights, unwrap

KEY = 'mmvssm.content'  # of the metadata
VERSION = 1


def convert(source, target) -> tuple[int, list[str]]:
    """Converts a checkpoint; the format of `target` is told by its suffix: .safetensors, or torch's for any other.

    The file lands atomically, after it was read back and compared bit for bit.
    Returns the number of tensors, and the classes of the objects that became plain values.
    Raises CheckpointError for a file that cannot be read, holds no weights, or tensors unknown to safetensors.
    """
    from .read import read_checkpoint

    content, target = read_checkpoint(source), Path(target)
    with naming(source):
        weights = unwrap(content)
    foreign: list[str] = []
    plain = _plain(content, foreign)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f'.{target.name}.{os.getpid()}.part')
    try:
        if target.suffix == '.safetensors':
            write_safetensors(plain, scratch, weights)
        else:
            torch.save(plain, scratch)
        if not same(plain, read_checkpoint(scratch)):
            raise CheckpointError(f'{target} did not come out as {source}.\nNothing was written; please report this.')
        os.replace(scratch, target)
    finally:
        scratch.unlink(missing_ok=True)
    return sum(1 for _ in _tensors(plain)), sorted(set(foreign))


def write_safetensors(content: dict, path, weights: Weights) -> None:
    """Writes nested content as one safetensors file; the tensors found by `weights` get its names."""
    from safetensors.torch import save_file

    at = tuple(weights.wrapper.split('.')) if weights.wrapper else ()
    names = {(*at, source): name for name, source in weights.sources.items()}
    tensors: dict[str, torch.Tensor] = {}
    tree = _encode(content, (), names, tensors)
    try:
        save_file(tensors, path, metadata={'format': 'pt', KEY: json.dumps({'version': VERSION, 'content': tree})})
    except (KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f'{path}: safetensors cannot hold this: {str(error).splitlines()[0][:120]}') from None


def restore(metadata: dict | None, tensors: dict) -> dict:
    """The original content of a converted file; of any other safetensors file, its tensors as they are."""
    if not metadata or KEY not in metadata:
        return tensors
    stored = json.loads(metadata[KEY])
    if stored['version'] != VERSION:
        raise ValueError(f'it was converted by another version of mmvssm ({stored["version"]})')
    return _decode(stored['content'], tensors)


def same(one, two) -> bool:
    """Whether two nested contents are equal: types, order of keys, and tensors to the last bit."""
    if isinstance(one, torch.Tensor):
        return (
            isinstance(two, torch.Tensor)
            and (one.dtype, one.shape) == (two.dtype, two.shape)
            and torch.equal(_bits(one), _bits(two))
        )
    if type(one) is not type(two):
        return False
    if isinstance(one, dict):
        return list(one) == list(two) and all(same(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two or one != one  # NaN


def _bits(tensor):
    return tensor.contiguous().flatten().view(torch.uint8)


def _tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def _plain(value, foreign: list):
    """The content with parameters as tensors and foreign objects as the values that they held."""
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, Inert):
        foreign.append(f'{type(value).__module__}.{type(value).__qualname__}')
        held = {'items': value.items, 'state': value.state, 'args': value.args}
        return {key: _plain(item, foreign) for key, item in held.items() if item}
    if isinstance(value, dict):
        items = {_key(key): _plain(item, foreign) for key, item in value.items()}
        return OrderedDict(items) if isinstance(value, OrderedDict) else items
    if isinstance(value, (list, tuple)):
        return type(value)([_plain(item, foreign) for item in value]) if type(value) in (list, tuple) else list(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    foreign.append(f'{type(value).__module__}.{type(value).__qualname__}')
    return repr(value)


def _key(key):
    return key if key is None or isinstance(key, (bool, int, float, str)) else str(key)


def _encode(value, path: tuple, names: dict, tensors: dict):
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


def _decode(value, tensors: dict):
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == 't':
        return tensors[held]
    if kind in 'do':
        return (OrderedDict if kind == 'o' else dict)((key, _decode(item, tensors)) for key, item in held)
    return {'l': list, 'u': tuple}[kind](_decode(item, tensors) for item in held)
