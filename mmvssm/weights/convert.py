"""Official files as safetensors and back, bit for bit.

A converted file holds every tensor of the original: the model's weights under their plain names, without wrappers and
prefixes; the rest under their full path. Objects of foreign classes, which are never loaded, come back as the plain
values that they held.
"""

import os
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from .errors import CheckpointError, naming
from .inert import Inert, tensors_in
from .match import unwrap
from .packing import write_safetensors
from .source import read_checkpoint


def convert(source: str | os.PathLike, target: str | os.PathLike) -> tuple[int, list[str]]:
    """Converts a checkpoint. The file lands atomically, after it was read back and compared bit for bit.

    Args:
        source: path, URL or published name.
        target: path; its suffix tells the format: .safetensors, or torch's for any other.

    Returns:
        The number of tensors, and the classes of the objects that became plain values.

    Raises:
        CheckpointError: a file that cannot be read, holds no weights, or tensors unknown to safetensors.
    """
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
    return tensors_in(plain, depth=sys.getrecursionlimit())[0], sorted(set(foreign))


def same(one: Any, two: Any) -> bool:
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


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)


def _plain(value: Any, foreign: list[str]) -> Any:
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


def _key(key: Any) -> Any:
    return key if key is None or isinstance(key, (bool, int, float, str)) else str(key)
