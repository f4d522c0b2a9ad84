"""From a model's arguments to its supernet's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmvssm import scans
from mmvssm.backbones import FAMILIES, Backbone, family_named
from mmvssm.errors import UsageError


@dataclass(frozen=True)
class Search:
    """What is searched in a family.

    Attributes:
        cls: the backbone's class.
        field: the argument that holds the layers' orders.
        k: how many orders a layer keeps: what the family has, or what was asked for.
    """

    cls: type[Backbone]
    field: str
    k: int


def searchable(name: str, k: int | None = None) -> Search:
    """What is searched in a family.

    Args:
        name: of the backbone's class.
        k: how many orders a layer keeps; None for the family's number.

    Raises:
        UsageError: a family whose layers have no orders to choose, or another number of them.
    """
    family = family_named(name)
    if family is None or (searched := family.cls.searched) is None:
        allowed = sorted(family.cls.__name__ for family in FAMILIES.values() if family.cls.searched is not None)
        raise UsageError(f'{name} has no scan directions to search; allowed: {", ".join(allowed)}')
    if searched.count is not None and k not in (None, searched.count):
        raise UsageError(f'--k {k}: a layer of {name} has {searched.count} scan directions; allowed: {searched.count}')
    return Search(family.cls, searched.field, searched.count or 4 if k is None else k)


def make_supernet(search: Search, backbone: Mapping[str, Any], candidates: Sequence[scans.Order] | None) -> dict:
    """A backbone's arguments with all layers choosing from `candidates`, None for the published eight; from scratch."""
    fresh = {name: value for name, value in backbone.items() if name not in ('init_cfg', 'pretrained')}
    return {**fresh, search.field: None, 'candidates': list(candidates or scans.LOCAL_SCAN)}
