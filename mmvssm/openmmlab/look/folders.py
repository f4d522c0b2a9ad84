"""A folder of images for each class, as `mmvssm.ImageFolder` reads them."""

from pathlib import Path

from mmengine.config import Config, ConfigDict
from timm.data.readers.img_extensions import get_img_extensions

from mmvssm.data.check import Report
from mmvssm.openmmlab.layouts.layout import DataError

from . import images


def look(cfg: Config, dataset: ConfigDict, split: str, unreadable: str, report: Report) -> list[str]:
    """See :func:`look_for`.

    Raises:
        DataError: no images, an unreadable one among those that are looked at, or more classes than the model has.
    """
    root, suffixes = Path(dataset.root), get_img_extensions(as_set=True)
    found = {
        folder.name: sorted(path for path in folder.rglob('*') if path.suffix.lower() in suffixes)
        for folder in sorted(root.iterdir())
        if folder.is_dir()
    }
    if not any(found.values()):
        raise DataError(f'{root} has no images in a folder for each class')
    number = cfg.model.get('num_classes')
    if number is not None and len(found) != number:
        raise DataError(f'{root} has {len(found)} classes, the model {number}: write model.num_classes={len(found)}')
    if bad := images.unreadable([path for paths in found.values() for path in paths], report):
        raise DataError(f'the image {bad[0]} cannot be read; remove it')
    report.images[split] = sum(map(len, found.values()))
    report.classes.update({name: len(paths) for name, paths in found.items()})
    empty = [name for name, paths in found.items() if not paths]
    return [f'{root}: {len(empty)} classes have no image ({", ".join(empty[:3])})'] if empty else []
