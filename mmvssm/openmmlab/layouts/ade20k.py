"""ADE20K's layout: images/{training,validation} and label images in annotations/{training,validation}.

classes.json, where present, names the classes: {"1": name, ...} (0 is unlabelled), {"0": name, ...} or
{"classes": [...]} (255 is unlabelled).
"""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmvssm.pictures import palette

from .layout import SPLIT_NAMES, DataError, Layout, datasets, set_num_classes


@dataclass(frozen=True)
class Part:
    """Training or validation images of a data set: folders from its root, a list of names, suffixes; found if None."""

    images: str
    labels: str
    listed: str = ''
    img_suffix: str | None = None
    seg_map_suffix: str | None = None


IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff')


def _find(root: Path) -> Path | None:
    inside = (root / 'ADEChallengeData2016', root)
    return next((r for r in inside if (r / 'images').is_dir() and not _has_other_labels(r)), None)


def _has_other_labels(root: Path) -> bool:
    """The folder images belongs to another layout, of labels in another folder."""
    return not (root / 'annotations').is_dir() and any((root / name).is_dir() for name in ('labels', 'masks', 'gt'))


def _point_to(cfg: Config, root: Path) -> None:
    parts = {
        part: Part(*(_split_folder(root, kind, part) for kind in ('images', 'annotations')))
        for part in ('train', 'val')
    }
    point_to_parts(cfg, root, parts, read_classes(root))


def point_to_parts(
    cfg: Config, root: Path, parts: dict[str, Part], classes: tuple[tuple[str, ...], bool] | None
) -> None:
    """Let a config read label images.

    Args:
        cfg: the config.
        root: of the data set.
        parts: 'train' and 'val'.
        classes: names, and whether label 0 means unlabelled; None where the config's own data set describes them.
    """
    for split in ('train', 'val', 'test'):
        part = parts['train' if split == 'train' else 'val']
        for dataset in datasets(cfg, split):
            dataset.data_root = str(root)
            dataset.data_prefix = dict(img_path=part.images, seg_map_path=part.labels)
            dataset.img_suffix = part.img_suffix or _suffix(root / part.images)
            dataset.seg_map_suffix = part.seg_map_suffix or _label_suffix(root, part, dataset.img_suffix)
            dataset.ann_file = part.listed
            if classes is not None:
                names, reduce_zero_label = classes
                dataset.type = 'BaseSegDataset'
                dataset.metainfo = dict(classes=names, palette=palette(len(names)))
                dataset.reduce_zero_label = reduce_zero_label
                _set_reduce_zero_label(dataset.pipeline, reduce_zero_label)
    if classes is not None:
        set_num_classes(cfg.model, len(classes[0]))
        _set_reduce_zero_label(cfg.get('tta_pipeline') or [], classes[1])


def read_classes(root: Path) -> tuple[tuple[str, ...], bool] | None:
    """Names and whether label 0 means unlabelled, of classes.json or classes.txt; None without."""
    path, lines = root / 'classes.json', root / 'classes.txt'
    if not path.is_file():
        names = lines.read_text(encoding='utf-8').split('\n') if lines.is_file() else []
        return (tuple(name.strip() for name in names if name.strip()), False) if names else None
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise DataError(f'{path} is not a readable JSON file: {error}') from error
    content = content.get('classes', content) if isinstance(content, dict) else content
    if isinstance(content, list):
        return tuple(content), False
    numbers = sorted(int(k) for k in content) if all(str(k).isdigit() for k in content) else []
    if not numbers or numbers != list(range(numbers[0], numbers[0] + len(numbers))) or numbers[0] > 1:
        raise DataError(
            f'{path} must name the classes 0, 1, ... or 1, 2, ... without a gap, or hold {{"classes": [...]}}'
        )
    return tuple(content[str(n)] for n in numbers), numbers[0] == 1


def _split_folder(root: Path, kind: str, split: str) -> str:
    names = sorted(SPLIT_NAMES[split], key=lambda name: name not in ('training', 'validation'))
    for name in names:
        if (root / kind / name).is_dir():
            return f'{kind}/{name}'
    raise DataError(f'no ADE20K-style data set in {root.absolute()}: no folder {kind}/{names[0]}')


def _suffix(folder: Path) -> str:
    found = {p.suffix for p in itertools.islice(folder.iterdir(), 1000) if p.suffix.lower() in IMAGE_SUFFIXES}
    if len(found) != 1:
        raise DataError(f'{folder} must hold images of one suffix, it has {", ".join(sorted(found)) or "none"}')
    return found.pop()


def _label_suffix(root: Path, part: Part, img_suffix: str) -> str:
    """What label images have after the name of their image: '.png', '_mask.png', ..."""
    folder = root / part.images
    for image in itertools.islice(sorted(folder.rglob(f'*{img_suffix}')), 20):
        name = str(image.relative_to(folder))[: -len(img_suffix)]
        place = root / part.labels / name
        if not place.with_name(f'{place.name}.png').is_file():
            ends = sorted(
                path.name[len(place.name) :]
                for path in place.parent.glob(f'{place.name}*')
                if path.suffix.lower() in IMAGE_SUFFIXES and not path.name[len(place.name) :][:1].isalnum()
            )
            if ends:
                return ends[0]
    return '.png'


def _set_reduce_zero_label(pipeline: Any, value: bool) -> None:
    """Where a pipeline repeats the data set's setting, the two must agree."""
    if isinstance(pipeline, dict):
        if pipeline.get('type') == 'LoadAnnotations' and 'reduce_zero_label' in pipeline:
            pipeline['reduce_zero_label'] = value
        pipeline = pipeline.values()
    for item in pipeline:
        if isinstance(item, dict | list | tuple):
            _set_reduce_zero_label(item, value)


ADE20K = Layout('images/training, images/validation, annotations/training, ... (ADE20K)', _find, _point_to)
