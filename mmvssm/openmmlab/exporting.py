"""Detectors and segmentors as what can be exported: a network of images alone, and what of them stays behind."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvssm import targets
from mmvssm.errors import UsageError
from mmvssm.openmmlab import parts


@dataclass(frozen=True)
class Exportable:
    """A part of a model.

    Attributes:
        model: images, RGB from 0 to 255, (B, 3, H, W) -> outputs.
        outputs: their names.
        left_out: what of the model is not in it, and why; '' for nothing.
    """

    model: nn.Module
    outputs: list[str]
    left_out: str


class Normalised(nn.Module):
    """The normalisation of a data preprocessor, before a network."""

    def __init__(self, whole: nn.Module):
        super().__init__()
        self.whole = whole
        self.mean, self.std = whole.data_preprocessor.mean, whole.data_preprocessor.std

    def forward(self, images: Tensor):
        return self.network((images - self.mean) / self.std, images.shape[-2:])

    def network(self, images: Tensor, size):
        """Normalised images and their height and width -> outputs."""
        raise NotImplementedError


class MeanOverBins(nn.Module):
    """Adaptive average pooling as two products with tables made of the size, which a graph of every size can hold.

    bins: rows and columns of the result.
    """

    def __init__(self, bins: tuple[int, int]):
        super().__init__()
        self.bins = bins

    def forward(self, x: Tensor) -> Tensor:
        down, across = (self._table(n, bins, x) for n, bins in zip(x.shape[-2:], self.bins))
        return down @ x @ across.mT

    @staticmethod
    def _table(size: int, bins: int, like: Tensor) -> Tensor:
        """(bins, size): 1 / n at the n places of a bin, which are floor(i s / b) to ceil((i + 1) s / b) of bin i."""
        number = torch.arange(bins)[:, None]
        place = torch.arange(size)[None]
        inside = ((place >= number * size // bins) & (place < ((number + 1) * size + bins - 1) // bins)).to(like)
        return inside / inside.sum(1, keepdim=True)


class Segmentor(Normalised):
    """Images -> scores of the classes, (B, classes, H, W)."""

    def __init__(self, whole: nn.Module):
        super().__init__(whole)
        pools = [
            (m, name) for m in whole.modules() for name, c in m.named_children() if isinstance(c, nn.AdaptiveAvgPool2d)
        ]
        for module, name in pools:
            bins = getattr(module, name).output_size
            setattr(module, name, MeanOverBins(bins if isinstance(bins, tuple) else (bins, bins)))

    def network(self, images: Tensor, size):
        scores = self.whole.decode_head(self.whole.extract_feat(images))
        return F.interpolate(scores, size=size, mode='bilinear', align_corners=self.whole.align_corners)


class Trunk(Normalised):
    """Images -> a detector's pyramid, and what its dense head says of each level."""

    def network(self, images: Tensor, size):
        maps = self.whole.extract_feat(images)
        scores, boxes = (self.whole.rpn_head if hasattr(self.whole, 'rpn_head') else self.whole.bbox_head)(maps)[:2]
        return (*maps, *scores, *boxes)


def exportable(target: targets.Target, levels: int = 5) -> Exportable:
    """What of a config's model can be exported, with its weights where there are any.

    Raises:
        UsageError: neither a segmentor nor a detector with a dense head.
    """
    whole = parts.build_model(target)
    if hasattr(whole, 'decode_head'):
        return Exportable(Segmentor(whole), ['scores'], '')
    if not hasattr(whole, 'rpn_head') and not hasattr(whole, 'bbox_head'):
        raise UsageError(
            f'{target.name}: a {type(whole).__name__} has no part that exports; allowed: segmentors, detectors'
        )
    names = [f'{kind}{i}' for kind in ('map', 'score', 'box') for i in range(levels)]
    why = 'the choice of boxes (their number depends on the image)'
    if hasattr(whole, 'roi_head'):
        why += ' and the heads after it, which read regions of the maps'
    return Exportable(Trunk(whole), names, why)
