"""The published results as a list to search: by task, size, accuracy, licence."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from .published import COLLECTIONS, PUBLISHED, RESULTS, Checkpoint, Result

HEADLINES = {'imagenet': 'top1', 'coco': 'box_AP', 'ade20k': 'mIoU'}  # task -> the figure that it is known by


def search(
    family: str = '',
    *,
    task: str | None = None,
    lowest: float | None = None,
    max_params: float | None = None,
    license: str | None = None,
    weights: bool = False,
    sort: str = 'name',
) -> list[Result]:
    """Published results, with or without weights.

    Args:
        family: what the variant's name begins with.
        task: 'imagenet', 'coco' or 'ade20k'.
        lowest: of top-1, box AP or mIoU.
        max_params: of the whole network, in millions; results without a published size are left out.
        license: a part of the file's or the repository's licence, in any case.
        weights: only those whose files were published.
        sort: 'name', 'metric' (best first), 'params' or 'flops' (smallest first).

    Raises:
        ValueError: no such `sort`.
    """
    orders: dict[str, Callable[[Result], Any]] = {
        'name': lambda one: (list(HEADLINES).index(one.task), one.model, one.method),
        'metric': lambda one: -headline(one),
        'params': lambda one: amount(one.params),
        'flops': lambda one: amount(one.flops),
    }
    if sort not in orders:
        raise ValueError(f'sort={sort!r}; allowed: {", ".join(orders)}')
    found = [
        one
        for one in [*PUBLISHED.values(), *RESULTS]
        if one.model.startswith(family)
        and task in (None, one.task)
        and (lowest is None or headline(one) >= lowest)
        and (max_params is None or amount(one.params) <= max_params)
        and (license is None or license.lower() in license_of(one).lower())
        and (not weights or isinstance(one, Checkpoint))
    ]
    return sorted(found, key=orders[sort])


def headline(result: Result) -> float:
    """Top-1, box AP or mIoU; 0 where only others were published."""
    return result.metrics.get(HEADLINES[result.task], 0.0)


def amount(text: str) -> float:
    """Millions or billions of a published size such as '50M', '1.2G'; infinite where there is none."""
    found = re.match(r'[\d.]+', text)
    return float(found[0]) if found else float('inf')


def license_of(result: Result) -> str:
    """That of the file, or of the repository where there is none."""
    if isinstance(result, Checkpoint):
        return result.license
    owners = [one for one in COLLECTIONS if result.model.startswith(one.prefix)]
    return max(owners, key=lambda one: len(one.prefix)).license if owners else ''


def as_dict(result: Result) -> dict[str, Any]:
    """A record for programs."""
    return {**dataclasses.asdict(result), 'license': license_of(result), 'weights': isinstance(result, Checkpoint)}


def listing(results: list[Result]) -> str:
    """A table: name, what it is, its size and figures, licence."""
    if not results:
        return 'nothing published is like that'
    rows = [('name', 'trained on', 'params', 'FLOPs', 'published', 'weights', 'licence'), *map(_row, results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return '\n'.join('  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def _row(result: Result) -> tuple[str, ...]:
    name = result.name if isinstance(result, Checkpoint) else result.config or result.model
    about = {'imagenet': 'ImageNet', 'coco': 'COCO', 'ade20k': 'ADE20K'}[result.task]
    shown = {key: value for key, value in result.metrics.items() if key in ('top1', 'box_AP', 'mask_AP', 'mIoU')}
    figures = ', '.join(f'{key.replace("_", " ")} {value}' for key, value in shown.items())
    has = 'yes' if isinstance(result, Checkpoint) else 'never'
    licence = re.split(r'[;,]|\.(?!\d)', license_of(result))[0]
    method = f'{about}, {result.method}' if result.method else about
    return (name, method, result.params or '-', result.flops or '-', figures, has, licence)
