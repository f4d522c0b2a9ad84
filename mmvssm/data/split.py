"""A seeded split of one data set into training and validation."""

import json
import os
import shutil
from pathlib import Path

import numpy as np

from mmvssm.errors import UsageError

from . import read

PARTS = {'train': 'training', 'val': 'validation'}


def split(root: Path, out: Path, *, val: float = 0.2, seed: int = 0) -> dict[str, int]:
    """Write OUT in the layout that `--data OUT` takes; images are hard links, or copies across file systems.

    Args:
        root: a folder with one COCO file and its images, or with images/ and annotations/ (label images).
        out: folder to write; it must not exist.
        val: share of the images for validation.
        seed: another one gives another split.

    Returns:
        images of each part.

    Raises:
        UsageError: no such data set, several COCO files, a share out of range, or `out` exists.
    """
    if not 0 < val < 1:
        raise UsageError(f'val={val} must be between 0 and 1')
    if out.exists():
        raise UsageError(f'{out} exists already')
    files = read.coco_files(root)
    if len(files) > 1:
        names = ', '.join(path.name for path in files)
        raise UsageError(f'{root} has several COCO files ({names}): it is split already')
    if files:
        return _split_coco(root, files[0], out, val, seed)
    if (root / 'images').is_dir() and (root / 'annotations').is_dir():
        return _split_labels(root, out, val, seed)
    raise UsageError(f'{root}: neither a COCO file nor images/ and annotations/ with label images')


def _parts(number: int, val: float, seed: int) -> dict[str, list[int]]:
    """Indices of the two parts; at least one in each."""
    order = np.random.default_rng(seed).permutation(number)
    held_out = min(max(round(val * number), 1), number - 1)
    if held_out < 1:
        raise UsageError(f'{number} images cannot be split')
    return {'val': sorted(map(int, order[:held_out])), 'train': sorted(map(int, order[held_out:]))}


def place(source: Path, target: Path) -> None:
    """A hard link, or a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _split_coco(root: Path, path: Path, out: Path, val: float, seed: int) -> dict[str, int]:
    content = read.coco(path)
    places = read.locate(root, [one['file_name'] for one in content['images']])
    images = [one for one in content['images'] if one['file_name'] in places]
    parts = _parts(len(images), val, seed)
    for name, indices in parts.items():
        own = [images[i] for i in indices]
        numbers = {one['id'] for one in own}
        kept = [one for one in content['annotations'] if one['image_id'] in numbers]
        target = out / f'annotations/instances_{name}.json'
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps({**content, 'images': own, 'annotations': kept}), encoding='utf-8')
        for one in own:
            place(places[one['file_name']], out / 'images' / PARTS[name] / one['file_name'])
    return {name: len(indices) for name, indices in parts.items()}


def _split_labels(root: Path, out: Path, val: float, seed: int) -> dict[str, int]:
    folder = root / 'images'
    pairs = [(path, root / 'annotations' / path.relative_to(folder).with_suffix('.png')) for path in read.images_in(folder)]
    pairs = [(image, label) for image, label in pairs if label.is_file()]
    parts = _parts(len(pairs), val, seed)
    for name, indices in parts.items():
        for image, label in (pairs[i] for i in indices):
            place(image, out / 'images' / PARTS[name] / image.name)
            place(label, out / 'annotations' / PARTS[name] / label.name)
    if (root / 'classes.json').is_file():
        place(root / 'classes.json', out / 'classes.json')
    return {name: len(indices) for name, indices in parts.items()}
