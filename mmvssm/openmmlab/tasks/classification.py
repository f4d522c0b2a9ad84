"""Classification of images, as the backbones are pre-trained, by timm's pipeline."""

from typing import Any

from mmvssm.errors import UsageError
from mmvssm.openmmlab.layouts.imagenet import IMAGENET

from .task import Task


def _refuse(*given: Any, **more: Any) -> Any:
    raise UsageError("classifiers are trained, searched and tested; pictures and predictions are timm's: create_model")


CLASSIFICATION = Task(
    scope='mmengine',
    how_to_get='ImageNet: https://image-net.org/download-images, unpacked into data/imagenet/{train,val}/CLASS',
    layouts=(IMAGENET,),
    show_in=_refuse,
    keep_predictions=_refuse,
    augment_tests=_refuse,
    found=_refuse,
    truth=_refuse,
    tile=_refuse,
    predict_tiles=_refuse,
    embedded=False,
)
