"""What a model finds in an image."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mmvssm.pictures import Colours, Instances, paint_classes, paint_found, palette


@dataclass(frozen=True)
class Found:
    """What a model finds in an image.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        classes: names.
        colours: one a class, where the data set has its own.
        instances: a detector's objects, best first.
        labels: a segmentor's classes, (H, W) uint8 or int64.
    """

    image: np.ndarray
    classes: tuple[str, ...]
    colours: Colours | None
    instances: Instances | None = None
    labels: np.ndarray | None = None

    def above(self, score: float) -> 'Found':
        """The same without the objects below a score."""
        if self.instances is None or self.instances.scores is None:
            return self
        keep = np.flatnonzero(self.instances.scores >= score)
        return self.replaced(self.instances.only(keep))

    def replaced(self, instances: Instances) -> 'Found':
        """The same image with other objects."""
        return dataclasses.replace(self, instances=instances)

    def picture(self, legend: bool = True) -> Image.Image:
        """Masks, boxes, names and scores, or painted classes, with a legend."""
        if self.instances is not None:
            return paint_found(self.image, self.instances, self.classes, self.colours, legend)
        assert self.labels is not None
        colours = self.colours or palette(len(self.classes))
        return paint_classes(self.image, self.labels, self.classes, colours, legend)
