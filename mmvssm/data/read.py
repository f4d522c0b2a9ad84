"""Files of data sets."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from mmvssm.errors import UsageError

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
ORIENTATION = 0x0112  # the EXIF tag; 1 is upright


def coco_files(root: Path) -> list[Path]:
    """COCO annotation files in a folder, or in its `annotations`."""
    found = [*root.glob('annotations/*.json'), *root.glob('*.json'), *root.glob('*/*.json')]
    return sorted({path for path in found if path.name not in ('classes.json', 'recipe.json') and is_coco(path)})


def is_coco(path: Path) -> bool:
    """Whether a JSON file has COCO's three lists."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and all(isinstance(content.get(k), list) for k in ('images', 'annotations', 'categories'))


def coco(path: Path) -> dict[str, Any]:
    """The content of a COCO file.

    Raises:
        UsageError: it is none.
    """
    if not is_coco(path):
        raise UsageError(f'{path} is no COCO annotation file: no JSON with images, annotations and categories')
    return json.loads(path.read_text(encoding='utf-8'))


def images_in(folder: Path) -> list[Path]:
    """Image files at any depth, sorted."""
    return sorted(path for path in folder.rglob('*') if path.suffix.lower() in SUFFIXES)


def locate(root: Path, names: Sequence[str], split: str = '') -> dict[str, Path]:
    """File name of an annotation -> the file, looked for from `root` on at any depth.

    split: of several files with one name, that in a folder called so ('train': train, training, train2017, ...) counts.
    """
    by_name: dict[str, list[Path]] = {}
    for path in images_in(root):
        if 'annotations' not in path.relative_to(root).parts:
            by_name.setdefault(path.name, []).append(path)
    word = next((word for word in ('train', 'val', 'test') if split.startswith(word)), '\0')

    def strange(path: Path) -> bool:
        return not any(part.startswith(word) for part in path.relative_to(root).parts[:-1])

    return {name: min(by_name[Path(name).name], key=strange) for name in names if Path(name).name in by_name}


def open_image(path: Path) -> Image.Image | None:
    """A decoded image, None where the file is damaged."""
    try:
        image = Image.open(path)
        image.load()
    except (OSError, SyntaxError, ValueError):
        return None
    return image
