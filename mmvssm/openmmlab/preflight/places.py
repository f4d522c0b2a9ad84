"""Where things stand in a config, by the names that `--cfg-options` takes: 'model.neck.1.in_channels'."""

import difflib
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config


def look_up(cfg: Any, path: str, default: Any = None) -> Any:
    """What stands at a path; `default` where nothing does."""
    node = cfg
    for part in path.split('.'):
        try:
            node = node[int(part)] if isinstance(node, list | tuple) else node[part]
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            return default
    return node


def matching(cfg: Any, pattern: str) -> Iterator[tuple[str, Any]]:
    """(path, what stands there) of each place that a pattern means, a `*` of which is any key or number, or nothing.

    'val_evaluator.*' is the evaluator, where it is one, and each of them, where they are a list.
    """
    yield from _matching(cfg._cfg_dict if isinstance(cfg, Config) else cfg, pattern.split('.'), [])


def _matching(node: Any, parts: list[str], path: list[str]) -> Iterator[tuple[str, Any]]:
    if not parts:
        yield '.'.join(path), node
        return
    first, *rest = parts
    if first == '*':
        if isinstance(node, dict) and 'type' in node:
            yield from _matching(node, rest, path)
            return
        for key, value in _items(node):
            yield from _matching(value, rest, [*path, str(key)])
    elif isinstance(node, dict) and first in node:
        yield from _matching(node[first], rest, [*path, first])


def nodes(node: Any, path: str = '') -> Iterator[tuple[str, dict]]:
    """(path, dict) of each dict inside of a part of a config, itself included."""
    if isinstance(node, dict):
        yield path, node
    for key, value in _items(node):
        yield from nodes(value, f'{path}.{key}' if path else str(key))


def _items(node: Any) -> list[tuple[Any, Any]]:
    if isinstance(node, dict):
        return list(node.items())
    return list(enumerate(node)) if isinstance(node, list | tuple) else []


def meant(name: str, known: list[str] | set[str], cutoff: float = 0.6) -> str:
    """Words for a message: what a mistyped name may have meant."""
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=cutoff)
    return f' (did you mean {near[0]}?)' if near else ''
