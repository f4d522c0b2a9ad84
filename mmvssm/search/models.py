"""From a model's arguments to its supernet's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmvssm import scans
from mmvssm.backbones import FAMILIES, Backbone
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
    classes = [family.cls for family in FAMILIES.values()]
    for cls in classes:
        if cls.__name__ == name and cls.searched is not None:
            own = cls.searched.count
            if own is not None and k not in (None, own):
                raise UsageError(f'--k {k}: a layer of {name} has {own} scan directions; allowed: {own}')
            return Search(cls, cls.searched.field, k or own or 4)
    allowed = ', '.join(sorted(cls.__name__ for cls in classes if cls.searched is not None))
    raise UsageError(f'{name} has no scan directions to search; allowed: {allowed}')


def make_supernet(search: Search, backbone: Mapping[str, Any], candidates: Sequence[scans.Order] | None) -> dict:
    """A backbone's arguments with all layers choosing from `candidates`, None for the published eight; from scratch."""
    changed = {search.field: None, 'candidates': list(candidates or scans.LOCAL_SCAN)}
    fresh = {'init_cfg': None} if 'init_cfg' in backbone else {}
    return {**backbone, **changed, **fresh}
