"""Any backbone as a function from images to maps: ours, timm's, or that of a detector or segmentor."""

from collections.abc import Callable, Sequence

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import mmvssm
from mmvssm import targets
from mmvssm.errors import UsageError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
Maps = Callable[[Tensor], Sequence[Tensor]]


def backbone(target: targets.Target, size: tuple[int, int], *, trained: bool = True) -> tuple[nn.Module, Maps]:
    """A model's backbone, and it as a function: images (B, 3, H, W) -> maps (B, C, h, w), finest first.

    Args:
        target: what was named.
        size: of the images, for models that are built for one.
        trained: with the checkpoint, where there is one.

    Raises:
        UsageError: the model has no maps.
    """
    if target.config is not None:
        from mmvssm.openmmlab import parts

        whole = parts.build_model(target, trained=trained)
        if not isinstance(inner := getattr(whole, 'backbone', None), nn.Module):
            raise UsageError(f'{target.name} has no backbone')
        return inner, inner
    if not trained:
        target = targets.Target(target.name, backbone=target.backbone)
    model = _features(target, size).eval()
    last = 'NHWC' if getattr(model, 'output_fmt', 'NCHW') == 'NHWC' else 'NCHW'
    return model, (lambda images: [one.permute(0, 3, 1, 2) for one in model(images)]) if last == 'NHWC' else model


def _features(target: targets.Target, size: tuple[int, int]) -> nn.Module:
    assert target.backbone is not None
    if target.backbone.partition('.')[0] in mmvssm.list_models():
        return target.create(features_only=True)
    options = dict(features_only=True, checkpoint_path=target.checkpoint or '')
    try:
        return timm.create_model(target.backbone, img_size=size, **options)
    except TypeError:  # takes every size
        return timm.create_model(target.backbone, **options)
    except (AttributeError, RuntimeError) as error:
        raise UsageError(f'{target.backbone} has no maps in timm: {error}') from None


def prepare(image: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, Tensor]:
    """An RGB image at that size, (H, W, 3) uint8 to look at, and (1, 3, H, W) normalised as ImageNet's are."""
    resized = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC))
    values = torch.from_numpy(resized.copy()).permute(2, 0, 1)[None].float() / 255
    mean, std = (torch.tensor(numbers).view(1, 3, 1, 1) for numbers in (MEAN, STD))
    return resized, (values - mean) / std


def noise(number: int, size: tuple[int, int], seed: int = 0) -> Tensor:
    """Inputs like images: smooth random fields of unit variance."""
    draw = torch.randn(number, 3, *size, generator=torch.Generator().manual_seed(seed))
    coarse = F.interpolate(draw[:, :, ::8, ::8], size, mode='bilinear')
    mixed = draw + 2 * coarse
    return mixed / mixed.std()
