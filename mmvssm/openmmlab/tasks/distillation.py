"""Backbones that learn a teacher's features, on images without labels."""

from mmvssm.openmmlab.layouts.images import IMAGES

from .task import Task, refusing

DISTILLATION = Task(
    scope='mmengine',
    how_to_get='COCO, whose labels are not needed: https://cocodataset.org/#download (train2017, val2017)',
    layouts=(IMAGES,),
    **refusing('a distilled backbone finds nothing by itself: give its checkpoint to a detector or segmentor'),
    labels='none',
)
