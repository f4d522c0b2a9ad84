"""Images of any folder, without labels."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from PIL import Image
from timm.data import create_transform
from torch.utils.data import Dataset

from mmvssm import inputs
from mmvssm.openmmlab.classification import DATASETS
from mmvssm.openmmlab.layouts import pairs
from mmvssm.settings import Flag, Int, Number, OneOf, checked
from mmvssm.settings import Path as PathSetting

# folders of label images that data sets have beside their images
LABELS = {*map(str.lower, pairs.LABELS), 'segmentationclass', 'segmentationobject'}
HELD_OUT = 0.05  # of a folder that is not parted


def images_in(root: Path) -> list[Path]:
    """The images in a folder, to any depth, sorted; those in folders of label images left out."""
    return sorted(_found(root))


def has_images(root: Path) -> bool:
    """Whether there is one; a large folder is not gone through for it."""
    return next(_found(root), None) is not None


def _found(root: Path) -> Iterator[Path]:
    for path in root.rglob('*'):
        if path.suffix.lower() in inputs.IMAGES and not _are_labels(path.relative_to(root)):
            yield path


def _are_labels(path: Path) -> bool:
    return any(part.lower() in LABELS or part.startswith(('.', 'panoptic_')) for part in path.parts[:-1])


def part_of(images: list[Path], training: bool, held_out: float) -> list[Path]:
    """Those to train on, or those that are held out: an even choice of the sorted images, the same each time.

    A single image is in both.
    """
    if not held_out or len(images) < 2:
        return images
    number = min(max(round(len(images) * held_out), 1), len(images) - 1)
    chosen = {i * len(images) // number for i in range(number)}
    return [image for i, image in enumerate(images) if (i in chosen) != training]


@DATASETS.register_module()
class UnlabelledImages(Dataset):
    """Images of a folder, to any depth, through timm's transforms: crops of random size and place, flips, colours.

    Args:
        root: the folder.
        training: augment, and leave out what is held out; otherwise resize, crop the middle, and only what is held out.
        size: pixels of a side.
        scale: least share of an image's area in a training crop.
        color_jitter: strength of the changes of colours.
        crop: share of the shorter side that is kept when not training.
        interpolation: 'bicubic' or 'bilinear'.
        held_out: share of the images that is not trained on; 0 where another folder holds them.
        unreadable: 'stop' at an image that cannot be read, or 'skip' it: the next one takes its place.

    Raises:
        FileNotFoundError: there are no images.
    """

    metainfo: dict[str, Any] = {}  # there are no classes; mmengine asks

    @checked(
        root=PathSetting(),
        training=Flag(),
        size=Int(1),
        scale=Number(0, 1, above=True),
        color_jitter=Number(0),
        crop=Number(0, 1, above=True),
        interpolation=OneOf('bicubic', 'bilinear'),
        held_out=Number(0, 1, below=True),
        unreadable=OneOf('stop', 'skip'),
    )
    def __init__(
        self,
        root: str | Path,
        training: bool = False,
        size: int = 224,
        scale: float = 0.3,
        color_jitter: float = 0.4,
        crop: float = 0.875,
        interpolation: str = 'bicubic',
        held_out: float = HELD_OUT,
        unreadable: str = 'stop',
    ):
        augmentation = dict(scale=(scale, 1.0), color_jitter=color_jitter) if training else {}
        self._transform = create_transform(size, training, interpolation=interpolation, crop_pct=crop, **augmentation)
        self._images = part_of(images_in(Path(root)), training, held_out)
        if not self._images:
            raise FileNotFoundError(f'{root}: no images')
        self._skips = unreadable == 'skip'

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns dict(inputs=(3, size, size) float32, normalised as ImageNet's are).

        Raises:
            mmvssm.inputs.Unreadable: no image of the folder can be read, or this one and nothing is skipped.
        """
        for place in range(index, index + len(self)):
            path = str(self._images[place % len(self)])
            try:
                (frame,) = inputs.read(inputs.Source(path, path, 'image'))
            except inputs.Unreadable as error:
                if not self._skips:
                    raise
                print_log(f'left out: {error}', 'current', 30)
                continue
            return dict(inputs=self._transform(Image.fromarray(frame.image)))
        raise inputs.Unreadable(f'{self._images[index].parent}: no image can be read')
