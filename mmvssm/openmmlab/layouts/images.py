"""Images without labels: any folder, or one of train/ and val/, by whatever usual names."""

from pathlib import Path

from mmengine.config import Config

from mmvssm.openmmlab.unlabelled import HELD_OUT, has_images

from .layout import SPLIT_NAMES, Layout, datasets


def _find(root: Path) -> Path | None:
    return root if has_images(root) else None


def _split(root: Path, part: str) -> Path | None:
    """The folder of a part's images, as data sets with labels have it."""
    names = SPLIT_NAMES[part]
    places = (p for name in names for p in (root / name, root / 'images' / name, root / name / 'images'))
    return next((place for place in places if place.is_dir() and has_images(place)), None)


def _point_to(cfg: Config, root: Path) -> None:
    parts = {part: _split(root, part) for part in SPLIT_NAMES}
    whole = not all(parts.values())
    for split in ('train', 'val', 'test'):
        for dataset in datasets(cfg, split):
            dataset.root = str(root if whole else parts['train' if split == 'train' else 'val'])
            dataset.held_out = HELD_OUT if whole else 0.0


IMAGES = Layout('images in any folders, or in train/ and val/', _find, _point_to)
