"""What a file's content may look like, so that whoever walks through it comes to an end."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from .errors import CheckpointError, DamagedFileError, quoted
from .inert import Inert, Unsupported

MOST_LEVELS = 100  # of containers in containers
UNFOLDING, SPARE = 64, 1 << 28  # the tensors may be so many times their data, plus so many bytes


def check_content(content: Any, inside: bool = False) -> None:
    """Looks at every container and tensor once, however often it is mentioned.

    Args:
        content: what was read.
        inside: look into foreign objects too.

    Raises:
        CheckpointError: a container that holds itself or is nested too deeply, a tensor without values of its own
            for all its elements (expanded, overlapping, meta, sparse, quantised ...).
    """
    walk = _Walk(inside)
    walk.height(content, ())
    data = sum(walk.storages.values())
    if walk.bytes > UNFOLDING * data + SPARE:
        raise CheckpointError(
            f'its tensors unfold to {walk.bytes:,} bytes from {data:,}.\nSave each tensor once, as its own copy.'
        )


class _Walk:
    def __init__(self, inside: bool):
        self.inside = inside
        self.heights: dict[int, int] = {}
        self.path: set[int] = set()
        self.storages: dict[int, int] = {}
        self.bytes = 0

    def height(self, value: Any, path: tuple) -> int:
        """Levels of containers in a value, after a look at all of them."""
        if isinstance(value, (torch.Tensor, Unsupported)):
            self.tensor(value, path)
            return 0
        if not _is_container(value) and not (self.inside and isinstance(value, Inert)):
            return 0
        if id(value) in self.path:
            raise CheckpointError(f'{_name(path)} holds itself: containers on their own path are not read.')
        if (known := self.heights.get(id(value))) is None:
            if len(path) >= MOST_LEVELS:
                raise _too_deep(path)
            self.path.add(id(value))
            known = 1 + max((self.height(item, (*path, key)) for key, item in parts(value)), default=0)
            self.path.remove(id(value))
            self.heights[id(value)] = known
        if len(path) + known > MOST_LEVELS:
            raise _too_deep(path)
        return known

    def tensor(self, value: torch.Tensor | Unsupported, path: tuple) -> None:
        """Refuses what has no memory of its own for each of its elements."""
        if isinstance(value, Unsupported):
            raise CheckpointError(f'{_name(path)} is {value.what}.\nAllowed: dense tensors; convert it and save again.')
        storage = value.untyped_storage()
        nbytes, held = value.numel() * value.element_size(), storage.nbytes()
        if nbytes > held:
            raise DamagedFileError(
                f'{_name(path)} is a tensor of {nbytes:,} bytes on {held:,} bytes of data (expanded or overlapping).\n'
                'Save it as a copy of its own: tensor.contiguous().'
            )
        self.storages[storage.data_ptr()] = held
        self.bytes += nbytes


def tensors_in(value: Any) -> tuple[int, int]:
    """Number of tensors in a nested structure, and how many elements they have; a shared container counts once."""
    found = list(_tensors(value))
    return len(found), sum(tensor.numel() for tensor in found)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    seen, waiting = set(), [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            yield value
        elif _is_container(value) and id(value) not in seen:
            seen.add(id(value))
            waiting.extend(item for _, item in parts(value))


def parts(value: Any) -> Iterable[tuple[Any, Any]]:
    """(key, item) of what a container or a foreign object holds."""
    if isinstance(value, Inert):
        return (('items', value.items), ('state', value.state), ('args', value.args), ('kwargs', value.kwargs))
    return value.items() if isinstance(value, dict) else enumerate(value)


def _is_container(value: Any) -> bool:
    return isinstance(value, (dict, list, tuple))


def _too_deep(path: tuple) -> CheckpointError:
    return CheckpointError(f'{_name(path[:8])} holds more than {MOST_LEVELS} levels of containers.')


def _name(path: tuple) -> str:
    """The keys that lead to a value, as one name."""
    return quoted('.'.join(key if isinstance(key, str) else quoted(key) for key in path)) if path else 'the content'
