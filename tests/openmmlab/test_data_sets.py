"""Configs on other data sets: each trains and is scored by the data set's own metric, on a folder of its layout."""

import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

import mmvssm.openmmlab  # noqa: F401
from mmvssm.errors import UsageError
from mmvssm.openmmlab import fitting, preflight, running
from tests.openmmlab.data_sets import DATA_SETS
from tests.openmmlab.test_config_models import load, shrink


def moved(node, old: str, new: str):
    """A config's part with every path in another folder."""
    if isinstance(node, dict):
        return type(node)({key: moved(value, old, new) for key, value in node.items()})
    if isinstance(node, list | tuple):
        return type(node)(moved(value, old, new) for value in node)
    return node.replace(old, new, 1) if isinstance(node, str) and node.startswith(old) else node


def small(name: str, folder: str, root) -> Config:
    """Micro model, images an eighth of the size, two iterations, in this process."""
    cfg = Config(moved(shrink(load(name))._cfg_dict, folder, str(root)))
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        fitting._scale(loader, 1 / 8)
    cfg.train_dataloader.batch_size = 2
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=2, val_interval=10)
    cfg.param_scheduler = None
    cfg.work_dir = str(root / 'run')
    return cfg


@pytest.mark.parametrize('name', DATA_SETS)
def test_trains_and_is_scored(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, write, classes, score = DATA_SETS[name]
    torch.manual_seed(0)
    cfg = small(name, folder, write(tmp_path / 'data set'))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        runner = running.build_runner(cfg, strict=False)
        runner.train()
        scores = runner.val()
    assert len(runner.val_dataloader.dataset) == 3
    assert len(runner.val_dataloader.dataset.metainfo['classes']) == classes
    assert score in scores


@pytest.mark.parametrize('name', DATA_SETS)
def test_heads_have_the_data_sets_classes(name):
    *_, classes, _ = DATA_SETS[name]
    model = load(name).model
    heads = [model[key] for key in ('decode_head', 'auxiliary_head') if key in model]
    heads += [model.roi_head[key] for key in ('bbox_head', 'mask_head') if key in model.get('roi_head', {})]
    assert {head.num_classes for head in heads} == {classes}


def test_lvis_without_its_package_is_told_before_data_are_read(monkeypatch):
    monkeypatch.setitem(sys.modules, 'lvis', None)
    with pytest.raises(UsageError, match='LVISV1Dataset needs the package lvis: pip install lvis'):
        preflight.check(load('mask_rcnn_vmamba_t_lvis'), training=True)
