"""ADE20K's layout: images/{training,validation} and label images in annotations/{training,validation}.

classes.json, where present, names the classes: {"1": name, ...} (0 is unlabelled), {"0": name, ...} or
{"classes": [...]} (255 is unlabelled).
"""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config, ConfigDict
from PIL import Image

from mmvssm.pictures import palette

from .layout import SPLIT_NAMES, DataError, Layout, datasets, set_num_classes

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff')


def _find(root: Path) -> Path | None:
    return next((r for r in (root / 'ADEChallengeData2016', root) if (r / 'images').is_dir()), None)


def _point_to(cfg: Config, root: Path) -> None:
    classes = _read_classes(root / 'classes.json')
    for split in ('train', 'val', 'test'):
        part = 'train' if split == 'train' else 'val'
        images, labels = (_split_folder(root, kind, part) for kind in ('images', 'annotations'))
        for dataset in datasets(cfg, split):
            dataset.data_root = str(root)
            dataset.data_prefix = dict(img_path=images, seg_map_path=labels)
            dataset.img_suffix = _suffix(root / images)
            if classes is not None:
                names, reduce_zero_label = classes
                dataset.type = 'BaseSegDataset'
                dataset.metainfo = dict(classes=names, palette=palette(len(names)))
                dataset.reduce_zero_label = reduce_zero_label
                _set_reduce_zero_label(dataset.pipeline, reduce_zero_label)
    if classes is not None:
        set_num_classes(cfg.model, len(classes[0]))
        _set_reduce_zero_label(cfg.get('tta_pipeline', []), classes[1])


def _read_classes(path: Path) -> tuple[tuple[str, ...], bool] | None:
    """Names and whether label 0 means unlabelled; None without a file: the config's own data set describes them."""
    if not path.is_file():
        return None
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


def _set_reduce_zero_label(pipeline: Any, value: bool) -> None:
    """Where a pipeline repeats the data set's setting, the two must agree."""
    if isinstance(pipeline, dict):
        if pipeline.get('type') == 'LoadAnnotations' and 'reduce_zero_label' in pipeline:
            pipeline['reduce_zero_label'] = value
        pipeline = pipeline.values()
    for item in pipeline:
        if isinstance(item, dict | list | tuple):
            _set_reduce_zero_label(item, value)


def _check_labels(cfg: Config, folder: Path, reduce_zero_label: bool, how_many: int = 20) -> None:
    """Some label images can be read, and name no class that the head does not have."""
    number = cfg.model.decode_head.num_classes if 'decode_head' in cfg.get('model', {}) else 256
    highest = number if reduce_zero_label else number - 1
    files = sorted(folder.glob('**/*.png'))
    for path in files[:: max(1, len(files) // how_many)]:
        try:
            values = np.unique(np.asarray(Image.open(path)))
        except OSError as error:
            raise DataError(f'{path} is not a readable label image: {error}') from error
        wrong = values[(values > highest) & (values != 255)]
        if len(wrong):
            raise DataError(f'{path} holds the label {wrong[0]}; allowed: 0 to {highest} and 255 (ignored)')


def _files(dataset: ConfigDict) -> list[Path]:
    root, prefix = dataset.get('data_root') or '', dataset.get('data_prefix') or {}
    if 'seg_map_path' not in prefix:
        return []
    return [Path(root, prefix.get('img_path', '')), Path(root, prefix['seg_map_path'])]


def _check(cfg: Config, dataset: ConfigDict) -> None:
    _, labels = _files(dataset)
    _check_labels(cfg, labels, bool(dataset.get('reduce_zero_label', dataset.type == 'ADE20KDataset')))


ADE20K = Layout('no folder images/training (ADE20K)', _find, _point_to, _files, _check)
