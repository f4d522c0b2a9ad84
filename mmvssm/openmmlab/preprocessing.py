"""A data preprocessor for detectors of one input size; imported by the configs that name it, as it needs mmdet."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from mmdet.models import DetDataPreprocessor
from torch import Tensor

from mmvssm.settings import Each, Int, Number, checked

from .necks import register


@register
class FixedSizeDataPreprocessor(DetDataPreprocessor):
    """mmdet's, on images padded to one size at the right and bottom, in training and in tests alike (as ViTDet's are).

    mmdet's own batch augments pad in training only. `img_shape` and `scale_factor` stay those of the image, so boxes
    are clipped at its borders and results have its size.

    Args:
        size: (height, width) of every input.
        fill: the value of added pixels, before normalisation.
        **kwargs: DetDataPreprocessor's.

    Raises (when called):
        ValueError: an image is larger than `size`.
    """

    @checked(size=Each(Int(1), 2), fill=Number())
    def __init__(self, size: Sequence[int], fill: float = 114, **kwargs: Any):
        super().__init__(**kwargs)
        self.size, self.fill = tuple(size), fill

    def forward(self, data: dict, training: bool = False) -> dict:
        images = data['inputs']
        padded = self._pad(images) if isinstance(images, Tensor) else [self._pad(image) for image in images]
        return super().forward({**data, 'inputs': padded}, training)

    def _pad(self, image: Tensor) -> Tensor:
        height, width = (side - has for side, has in zip(self.size, image.shape[-2:]))
        if min(height, width) < 0:
            raise ValueError(
                f'an image of {tuple(image.shape[-2:])} exceeds data_preprocessor.size={self.size}; '
                'the pipeline has to resize or crop it'
            )
        return F.pad(image, (0, width, 0, height), value=self.fill)
