"""Official files as safetensors and back, bit for bit.

A converted file holds every tensor of the original: the model's weights under their plain names, without wrappers and
prefixes; the rest under their full path. Objects of foreign classes, which are never loaded, come back as the plain
values that they held. What the file mentions several times is converted once.
"""

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from .content import check_content, tensors_in
from .errors import CheckpointError, first_line, naming, place, quoted, shown
from .inert import Inert, class_name
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
        CheckpointError: a file that cannot be read, holds no weights, or tensors unknown to safetensors; a target that
            cannot be written.
    """
    content, target = read_checkpoint(source), Path(target)
    with naming(source):
        weights = unwrap(content)
        check_content(content, inside=True)
    foreign: list[str] = []
    plain = _plain(content, foreign, {})
    scratch = target.with_name(f'.{target.name}.{os.getpid()}.part')
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if target.suffix == '.safetensors':
                write_safetensors(plain, scratch, weights)
            else:
                torch.save(plain, scratch)
            if not same(plain, read_checkpoint(scratch)):
                raise CheckpointError(
                    f'{place(target)} did not come out as {place(source)}.\nNothing was written; please report this.'
                )
            os.replace(scratch, target)
        finally:
            scratch.unlink(missing_ok=True)
    except CheckpointError:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # torch.save turns some of the first into the second
        reason = getattr(error, 'strerror', None) or first_line(error)
        raise CheckpointError(f'{place(target)} cannot be written: {reason}.\nGive another path.') from None
    return tensors_in(plain)[0], sorted(set(foreign))


def same(one: Any, two: Any, done: dict[tuple[int, int], bool] | None = None) -> bool:
    """Whether two nested contents are equal: types, order of keys, and tensors to the last bit.

    Args:
        one, two: contents that stay alive meanwhile.
        done: pairs of containers that were compared already, by identity.
    """
    done = {} if done is None else done
    if isinstance(one, torch.Tensor):
        return (
            isinstance(two, torch.Tensor)
            and (one.dtype, one.shape) == (two.dtype, two.shape)
            and torch.equal(_bits(one), _bits(two))
        )
    if type(one) is not type(two):
        return False
    if not isinstance(one, (dict, list, tuple)):
        return one == two or one != one  # NaN
    pair = id(one), id(two)
    if pair not in done:
        if isinstance(one, dict):
            done[pair] = list(one) == list(two) and all(same(one[key], two[key], done) for key in one)
        else:
            done[pair] = len(one) == len(two) and all(same(a, b, done) for a, b in zip(one, two))
    return done[pair]


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)


def _plain(value: Any, foreign: list[str], done: dict[int, Any]) -> Any:
    """The content with parameters as tensors and foreign objects as the values that they held.

    Args:
        value: the content.
        foreign: gets the names of the objects' classes.
        done: what became of an object already, by identity.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if id(value) not in done:
        done[id(value)] = _plain_once(value, foreign, done)
    return done[id(value)]


def _plain_once(value: Any, foreign: list[str], done: dict[int, Any]) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, Inert):
        foreign.append(shown(class_name(value)))
        held = {'items': value.items, 'state': value.state, 'args': value.args}
        return {key: _plain(item, foreign, done) for key, item in held.items() if _is_something(item)}
    if isinstance(value, dict):
        pairs = {_key(key): _plain(item, foreign, done) for key, item in value.items()}
        return OrderedDict(pairs) if isinstance(value, OrderedDict) else pairs
    if isinstance(value, (list, tuple)):
        listed = [_plain(item, foreign, done) for item in value]
        return tuple(listed) if isinstance(value, tuple) else listed
    foreign.append(shown(class_name(value)))
    try:
        return repr(value)
    except ValueError:  # an integer of more digits than Python writes is in it
        return quoted(value)


def _is_something(item: Any) -> bool:
    return isinstance(item, torch.Tensor) or bool(item)


def _key(key: Any) -> Any:
    return key if key is None or isinstance(key, (bool, int, float, str)) else str(key)
