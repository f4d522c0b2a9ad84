"""The file that a search for scan directions leaves: what was chosen in each layer, out of what, and with what weight.

A backbone takes its path in place of the lists: `LocalVMamba(directions='directions.json')`.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KIND, VERSION = 'mmvssm scan directions', 1


@dataclass(frozen=True)
class LayerDirections:
    """A layer's part of the file.

    Attributes:
        candidates: names of the orders that it could choose from.
        probabilities: of each, as the search left them; they add up to 1.
        chosen: those that it keeps, in the order of the candidates.
    """

    candidates: tuple[str, ...]
    probabilities: tuple[float, ...]
    chosen: tuple[str, ...]


@dataclass(frozen=True)
class Directions:
    """What a search has found.

    Attributes:
        layers: in the model's order.
        about: where it comes from: `model`, `data`, `iteration`, `versions`, whatever the search knows.
    """

    layers: tuple[LayerDirections, ...]
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def lists(self) -> list[list[str]]:
        """What `directions=` of a backbone takes."""
        return [list(layer.chosen) for layer in self.layers]


def from_lists(lists: Sequence[Sequence[str]], candidates: Sequence[str]) -> Directions:
    """Lists whose shares are not known, such as published ones: alike for all that are kept, 0 for the others."""
    layers = (
        LayerDirections(
            tuple(candidates), tuple(1 / len(own) if name in own else 0.0 for name in candidates), tuple(own)
        )
        for own in lists
    )
    return Directions(tuple(layers))


def is_path(value: Any) -> bool:
    """Whether a setting is the path of such a file rather than orders."""
    return isinstance(value, os.PathLike) or (isinstance(value, str) and value.endswith('.json'))


def write(path: str | os.PathLike, found: Directions) -> None:
    """Write the file, one layer a line."""
    layers = [
        json.dumps(
            dict(
                candidates=layer.candidates,
                probabilities=[round(p, 6) for p in layer.probabilities],
                chosen=layer.chosen,
            )
        )
        for layer in found.layers
    ]
    head = json.dumps(dict(kind=KIND, version=VERSION, **found.about), indent=1).removesuffix('\n}')
    Path(path).write_text(head + ',\n "layers": [\n  ' + ',\n  '.join(layers) + '\n ]\n}\n', encoding='utf-8')


def read(path: str | os.PathLike, name: str = '') -> Directions:
    """Read the file.

    Args:
        path: of the file.
        name: of the setting that holds the path, for errors.

    Raises:
        ValueError: no such file, or another; it names the layer that is wrong.
    """
    where = f'{name}={os.fspath(path)!r}' if name else os.fspath(path)
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else f'no JSON ({error})'
        raise ValueError(f'{where} cannot be read: {problem}; allowed: a file that `mmvssm search` wrote') from None
    if not isinstance(content, dict) or content.get('kind') != KIND:
        raise ValueError(f'{where} is no list of scan directions; allowed: a file that `mmvssm search` wrote')
    if content.get('version') != VERSION:
        raise ValueError(f'{where} has version {content.get("version")!r}; allowed: {VERSION}')
    layers = content.pop('layers', None)
    if not isinstance(layers, list) or not layers:
        raise ValueError(f"{where} has no 'layers'; allowed: a list with an entry for each layer")
    about = {key: value for key, value in content.items() if key not in ('kind', 'version')}
    return Directions(tuple(_layer(entry, f'{where}: layer {i}') for i, entry in enumerate(layers)), about)


def _layer(entry: Any, where: str) -> LayerDirections:
    parts = entry if isinstance(entry, dict) else {}
    candidates, chosen = (_names(parts.get(key), f'{where}: {key!r}') for key in ('candidates', 'chosen'))
    probabilities = parts.get('probabilities')
    if not isinstance(probabilities, list) or len(probabilities) != len(candidates):
        raise ValueError(f"{where}: 'probabilities' must be a number for each of {len(candidates)} candidates")
    for key, names in (('candidates', candidates), ('chosen', chosen)):
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f'{where}: {twice!r} is there twice in {key!r}; allowed: each name once')
    for name in chosen:
        if name not in candidates:
            raise ValueError(
                f"{where}: {name!r} in 'chosen' is none of the candidates; allowed: {', '.join(candidates)}"
            )
    return LayerDirections(candidates, tuple(map(float, probabilities)), chosen)


def _names(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise ValueError(f'{where} must be a list of at least one name')
    if not all(isinstance(name, str) for name in value):
        raise ValueError(f'{where} must hold names alone')
    return tuple(value)
