"""Classification of images, as the backbones are pre-trained, by timm's pipeline."""

from typing import Any

from mmengine.config import Config

from mmvssm.errors import UsageError
from mmvssm.openmmlab.layouts.imagenet import IMAGENET

from .task import Task


def _refuse(*given: Any, **more: Any) -> Any:
    raise UsageError("classifiers are trained, searched and tested; pictures and predictions are timm's: create_model")


def _keep_as_it_is(cfg: Config, pipeline: list, side: int, overlap: float) -> list:
    return pipeline


CLASSIFICATION = Task(
    scope='mmengine',
    how_to_get='ImageNet: https://image-net.org/download-images, unpacked into data/imagenet/{train,val}/CLASS',
    layouts=(IMAGENET,),
    show_in=_refuse,
    keep_predictions=_refuse,
    augment_tests=_refuse,
    found=_refuse,
    truth=_refuse,
    tile=_keep_as_it_is,
    predict_tiles=_refuse,
    embedded=False,
)
