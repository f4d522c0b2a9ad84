"""A model as something to be measured: at one image size, with random weights."""

from collections.abc import Callable
from dataclasses import dataclass

import timm
import torch
from torch import Tensor, nn

import mmvssm
from mmvssm import targets

Size = tuple[int, int]


@dataclass
class Subject:
    """A model to be measured.

    Attributes:
        name: as it was given.
        model: the network, in evaluation mode.
        counted: the network as FLOPs are counted, a module of images alone; without the selection of boxes.
        infer: images -> tensors, what is timed.
        train: images -> a scalar loss whose backward pass is timed too.
        own: a backbone of this project is in it, which can be held against the reference.
    """

    name: str
    model: nn.Module
    counted: nn.Module
    infer: Callable[[Tensor], object]
    train: Callable[[Tensor], Tensor]
    own: bool

    @property
    def params(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())


def subject(target: targets.Target, size: Size) -> Subject:
    """What was named: a classifier of 1000 classes, or the whole detector or segmentor of a config.

    Raises:
        UsageError: nothing has that name.
    """
    if target.config is not None:
        from mmvssm.openmmlab import whole

        model, counted, infer = whole.build(target, size)
        return Subject(target.name, model, counted, infer, lambda images: total(counted(images)), _has_own(model))
    assert target.backbone is not None
    model = _classifier(target.backbone.partition('.')[0], target.backbone, size).eval()
    return Subject(target.name, model, model, model, lambda images: total(model(images)), _has_own(model))


def _classifier(variant: str, name: str, size: Size) -> nn.Module:
    if variant in mmvssm.list_models():
        return mmvssm.create_model(variant)
    try:
        return timm.create_model(name, img_size=size)
    except TypeError:  # takes every size
        return timm.create_model(name)


def _has_own(model: nn.Module) -> bool:
    return any(isinstance(module, mmvssm.backbones.Backbone) for module in model.modules())


def leaves(value: object) -> list[Tensor]:
    """The floating-point tensors in an output of any structure."""
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() else []
    if isinstance(value, dict):
        return [leaf for one in value.values() for leaf in leaves(one)]
    if isinstance(value, list | tuple):
        return [leaf for one in value for leaf in leaves(one)]
    if hasattr(value, 'pred_instances'):
        return leaves([value.pred_instances[key] for key in ('bboxes', 'scores')])
    return []


def total(value: object) -> Tensor:
    """A scalar to differentiate."""
    return torch.stack([leaf.float().square().mean() for leaf in leaves(value)]).sum()
