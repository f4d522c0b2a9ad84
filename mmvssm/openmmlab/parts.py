"""Backbones and training samples of configs, for commands that look at them apart from a run."""

import itertools
from collections.abc import Iterator

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from torch import nn

from mmvssm import targets, weights
from mmvssm.openmmlab import config_files
from mmvssm.openmmlab.found import Found
from mmvssm.openmmlab.layouts.layout import set_num_classes
from mmvssm.openmmlab.loading import fitting_state
from mmvssm.openmmlab.tasks import task_of
from mmvssm.pictures import palette


def build_model(target: targets.Target, *, trained: bool = True) -> nn.Module:
    """The detector or segmentor of a config, in evaluation mode.

    trained: with its checkpoint, where it has one; otherwise as it is drawn at the start.

    Raises:
        mmvssm.weights.CheckpointError: the checkpoint does not fit.
    """
    cfg = config_files.read(target.config_file)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    cfg.model.get('backbone', {}).pop('init_cfg', None)
    content = weights.read_checkpoint(target.local_checkpoint()) if trained and target.checkpoint else {}
    meta = content.get('meta')
    data_set = (meta.get('dataset_meta') or {}) if isinstance(meta, dict) else {}
    if data_set.get('classes'):
        stuff = len(data_set.get('stuff_classes') or ())
        set_num_classes(cfg.model, len(data_set['classes']) - stuff, stuff)
    model = MODELS.build(cfg.model)
    if content:
        model.load_state_dict(fitting_state(model, content)[0])
    return model.eval()


def samples(cfg: Config, number: int) -> Iterator[Found]:
    """Training images as the pipeline of a config makes them, with their labels."""
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    names = tuple(dataset.metainfo['classes'])
    colours = dataset.metainfo.get('palette') or palette(len(names))
    truth = task_of(cfg).truth
    order = np.random.default_rng(0).permutation(len(dataset))
    for i in itertools.islice(order, number):
        item = dataset[int(i)]
        image = np.ascontiguousarray(item['inputs'].permute(1, 2, 0).numpy()[..., ::-1])  # mmcv reads BGR
        yield Found(image, names, [tuple(colour) for colour in colours], **truth(item['data_samples']))
