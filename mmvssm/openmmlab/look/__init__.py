"""The look at data sets before training, by what reads them.

`coco` is for CocoDataset, `labels` for BaseSegDataset, `folders` for `mmvssm.ImageFolder`, `unlabelled` for
`mmvssm.UnlabelledImages`.

What another class reads is looked at no further than that it exists. What can be put right in one way only is put right
in a copy of the annotation file (`mended`) and said; the rest stops the run, with file, number and key.
"""

from collections.abc import Callable

from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS

from mmvssm.data.check import Report
from mmvssm.openmmlab.preflight.keywords import resolve

from . import coco, folders, labels, unlabelled

Look = Callable[[Config, ConfigDict, str, str, Report], list[str]]


def look_for(dataset: ConfigDict) -> Look | None:
    """The look at a data set: (config, data set, split, 'stop' or 'skip', report to fill) -> what was put right.

    None for a class of which nothing is known.
    """
    cls = resolve('dataset', dataset['type'], DATASETS)
    names = {base.__name__ for base in getattr(cls, '__mro__', (cls,))}
    if 'CocoDataset' in names and str(dataset.get('ann_file', '')).endswith('.json'):
        # LVIS and panoptic COCO are CocoDatasets that read other records
        return coco.look if cls.load_data_list.__qualname__.startswith('CocoDataset.') and _is_plain(cls) else None
    if 'BaseSegDataset' in names and 'seg_map_path' in (dataset.get('data_prefix') or {}):
        return labels.look
    of_folders = {'ImageFolder': folders.look, 'UnlabelledImages': unlabelled.look}
    return next((look for name, look in of_folders.items() if name in names and 'root' in dataset), None)


def _is_plain(cls: type) -> bool:
    return cls.parse_data_info.__qualname__.startswith('CocoDataset.')  # type: ignore[attr-defined]
