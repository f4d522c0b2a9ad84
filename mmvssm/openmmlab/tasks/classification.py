"""Classification of images, as the backbones are pre-trained, by timm's pipeline."""

from mmvssm.openmmlab.layouts.imagenet import IMAGENET

from .task import Task, refusing

CLASSIFICATION = Task(
    scope='mmengine',
    how_to_get='ImageNet: https://image-net.org/download-images, unpacked into data/imagenet/{train,val}/CLASS',
    layouts=(IMAGENET,),
    **refusing("classifiers are trained, searched and tested; pictures and predictions are timm's: create_model"),
    embedded=False,
)
