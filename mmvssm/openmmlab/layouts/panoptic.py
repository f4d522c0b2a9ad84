"""Panoptic labels of a COCO folder: annotations/panoptic_*.json beside the instances, and a folder of its PNGs.

A panoptic config on a folder without them learns its objects alone: things, and no stuff.
"""

import json
from pathlib import Path

from mmengine.config import Config

from mmvssm.openmmlab import console
from mmvssm.pictures import palette

from .layout import SPLIT_NAMES, DataError, datasets, evaluators, set_num_classes

DATASET, METRIC, LOAD = 'CocoPanopticDataset', 'CocoPanopticMetric', 'LoadPanopticAnnotations'


def wanted(cfg: Config) -> bool:
    """Whether a config trains on panoptic labels."""
    return any(str(dataset.type).endswith(DATASET) for dataset in datasets(cfg, 'train'))


def point_to(cfg: Config, root: Path, objects: tuple[str, ...]) -> None:
    """Let a config that points at a COCO folder read its panoptic labels; without any, learn objects alone.

    objects: the categories of its instances.

    Raises:
        DataError: labels of one split alone, or labels that are not what they should be.
    """
    files = {split: _file(root, split) for split in SPLIT_NAMES}
    if not any(files.values()):
        console.tell(f'{root} has no panoptic labels (annotations/panoptic_*.json): its objects alone are learnt')
        _leave_stuff(cfg)
        return
    for split, path in files.items():
        if path is None:
            raise DataError(f'no panoptic labels for {split} in {root}: no annotations/panoptic_{split}*.json')
    content = {split: _read(path) for split, path in files.items() if path is not None}
    things, stuff = (_names(content['train'], isthing) for isthing in (1, 0))
    if things != objects:
        raise DataError(f'{files["train"]} has other things, or in another order, than the instances beside it')
    classes = (*things, *stuff)
    metainfo = dict(classes=classes, thing_classes=things, stuff_classes=stuff, palette=palette(len(classes)))
    for split in ('train', 'val', 'test'):
        path = files['train' if split == 'train' else 'val']
        assert path is not None
        for dataset in datasets(cfg, split):
            dataset.ann_file = str(path.relative_to(root))
            dataset.data_prefix.seg = f'{path.relative_to(root).with_suffix("")}/'
            dataset.metainfo = metainfo
        for evaluator in evaluators(cfg, split):
            if evaluator.type == METRIC:
                evaluator.update(ann_file=str(path), seg_prefix=f'{path.with_suffix("")}/')
    set_num_classes(cfg.model, len(things), len(stuff))


def _file(root: Path, split: str) -> Path | None:
    exact = (root / f'annotations/panoptic_{name}.json' for name in SPLIT_NAMES[split])
    loose = sorted(root.glob(f'annotations/panoptic*{split}*.json'))
    return next((path for path in (*exact, *loose) if path.is_file()), None)


def _read(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        kinds = [one['isthing'] for one in content['categories']]
        pictures = [path.with_suffix('') / one['file_name'] for one in content['annotations'] if one['segments_info']]
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise DataError(f'{path} is no file of panoptic labels: {type(error).__name__}: {error}') from error
    if 1 not in kinds or not pictures:
        raise DataError(f'{path} has no {"segments" if 1 in kinds else "category with isthing=1"}')
    if not pictures[0].is_file():
        raise DataError(f'{pictures[0]}, named by {path}, is not there')
    return content


def _names(content: dict, isthing: int) -> tuple[str, ...]:
    return tuple(one['name'] for one in content['categories'] if one['isthing'] == isthing)


def _leave_stuff(cfg: Config) -> None:
    for split in ('train', 'val', 'test'):
        for dataset in datasets(cfg, split):
            dataset.type = 'CocoDataset'
            for step in dataset.pipeline:
                if step.type == LOAD:
                    step.update(type='LoadAnnotations', with_seg=False, with_bbox=True, with_mask=True)
        kept = [one for one in evaluators(cfg, split) if one.type != METRIC]
        if f'{split}_evaluator' in cfg:
            cfg[f'{split}_evaluator'] = kept[0] if len(kept) == 1 else kept
    preprocessor = cfg.model.data_preprocessor
    for part in (preprocessor, *(preprocessor.get('batch_augments') or ())):
        if 'pad_seg' in part:
            part.pad_seg = False  # it takes for granted that there are such labels
    cfg.model.test_cfg.panoptic_on = False
