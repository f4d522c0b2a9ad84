"""ImageNet's layout: train/CLASS/*.jpg and val/CLASS/*.jpg."""

from pathlib import Path

from mmengine.config import Config

from .layout import SPLIT_NAMES, DataError, Layout, datasets


def _split(root: Path, split: str) -> Path | None:
    for name in SPLIT_NAMES[split]:
        if (root / name).is_dir() and len(_classes(root / name)) > 1:
            return root / name
    return None


def _classes(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def _find(root: Path) -> Path | None:
    return root if _split(root, 'train') and _split(root, 'val') else None


def _point_to(cfg: Config, root: Path) -> None:
    folders = {split: _split(root, split) or root for split in ('train', 'val')}
    names = {split: _classes(folder) for split, folder in folders.items()}
    if other := sorted(set(names['val']) - set(names['train'])):
        raise DataError(f'{folders["val"]}: class {other[0]!r} is not in {folders["train"]}')
    if names['val'] != names['train']:  # numbers are places in the sorted names
        missing = sorted(set(names['train']) - set(names['val']))[0]
        raise DataError(f'{folders["val"]} has no folder for class {missing!r}; an empty one will do')
    for split, part in (('train', 'train'), ('val', 'val'), ('test', 'val')):
        for dataset in datasets(cfg, split):
            dataset.root = str(folders[part])
    cfg.model.num_classes = len(names['train'])


IMAGENET = Layout('train/CLASS/*.jpg beside val/CLASS/*.jpg', _find, _point_to)
