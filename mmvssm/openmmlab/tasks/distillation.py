"""Backbones that learn a teacher's features, on images without labels."""

from typing import Any

from mmvssm.errors import UsageError
from mmvssm.openmmlab.layouts.images import IMAGES

from .task import Task


def _refuse(*given: Any, **more: Any) -> Any:
    raise UsageError('a distilled backbone finds nothing by itself: give its checkpoint to a detector or segmentor')


DISTILLATION = Task(
    scope='mmengine',
    how_to_get='COCO, whose labels are not needed: https://cocodataset.org/#download (train2017, val2017)',
    layouts=(IMAGES,),
    show_in=_refuse,
    keep_predictions=_refuse,
    augment_tests=_refuse,
    found=_refuse,
    truth=_refuse,
    tile=_refuse,
    predict_tiles=_refuse,
    labels='none',
)
