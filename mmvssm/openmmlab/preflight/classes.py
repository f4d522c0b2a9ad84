"""Heads and data have the same classes."""

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS

from mmvssm.errors import UsageError
from mmvssm.openmmlab.layouts.layout import DataError, datasets

from .keywords import resolve
from .places import matching

# heads of the classes of the data: others count things apart, or objects alone
EXACT = ('bbox_head.*', 'roi_head.bbox_head.*', 'roi_head.mask_head.*', 'mask_head.*')
ENOUGH = ('decode_head.*', 'auxiliary_head.*')


def check(cfg: Config) -> None:
    """Compare `num_classes` of every head with the names that the training data have.

    Raises:
        UsageError: both numbers, and what to write.
    """
    for dataset in datasets(cfg, 'train' if cfg.get('train_dataloader') else 'test'):
        names = names_of(dataset)
        if names:
            _check_heads(cfg, names)
        break
    check_one_class(cfg)


def check_one_class(cfg: Config) -> None:
    """Softmax over one class is 1 whatever the weights are.

    Raises:
        DataError: a head has it.
    """
    for pattern in ENOUGH:
        for place, head in matching(cfg.model, pattern):
            losses = head.get('loss_decode') or {}
            losses = losses if isinstance(losses, list | tuple) else [losses]
            binary = any(isinstance(one, dict) and one.get('use_sigmoid') for one in losses)
            if head.get('num_classes') == 1 and not binary:
                raise DataError(
                    f'model.{place}.num_classes=1: softmax over one class learns nothing, its loss is 0\n'
                    'name two classes (background and it), or set loss_decode.use_sigmoid=True'
                )


def _check_heads(cfg: Config, names: tuple[str, ...]) -> None:
    for place, number, exact in _counts(cfg.model):
        enough = number >= len(names) or (number == 1 and len(names) == 2)  # two classes of one sigmoid
        if number != len(names) if exact else not enough:
            some = ', '.join(names[:3]) + (', ...' if len(names) > 3 else '')
            raise UsageError(
                f'{place}={number}, but the data set has {len(names)} classes ({some}): write {place}={len(names)}'
            )


def _counts(model: dict) -> Iterator[tuple[str, int, bool]]:
    for patterns, exact in ((EXACT, True), (ENOUGH, False)):
        for pattern in patterns:
            for place, head in matching(model, pattern):
                number = head.get('num_classes') if isinstance(head, dict) else None
                if isinstance(number, int):
                    yield f'model.{place}.num_classes', number, exact
    for kind in ('panoptic_head', 'panoptic_fusion_head'):
        for place, head in matching(model, kind):
            things, stuff = head.get('num_things_classes'), head.get('num_stuff_classes')
            if isinstance(things, int) and isinstance(stuff, int):
                yield f'model.{place}.num_things_classes + num_stuff_classes', things + stuff, True


def names_of(dataset: dict) -> tuple[str, ...]:
    """The classes of a data set in a config: its own, or its class's."""
    metainfo: Any = dataset.get('metainfo') or {}
    names = metainfo.get('classes') if isinstance(metainfo, dict) else None
    if names is None:
        cls = resolve('dataset', dataset['type'], DATASETS)
        names = (getattr(cls, 'METAINFO', None) or {}).get('classes')
    return (names,) if isinstance(names, str) else tuple(names or ())
