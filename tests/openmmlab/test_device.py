"""Recipes for GPUs on a machine without one."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmvssm.openmmlab.device import fit_device

CONFIGS = Path(__file__).parents[2] / 'configs'


def norms(node) -> set[str]:
    """Every BatchNorm type in a config."""
    if isinstance(node, dict):
        found = {node.get('type')} & {'BN', 'SyncBN'}
        return found.union(*map(norms, node.values()))
    return set().union(*map(norms, node)) if isinstance(node, list | tuple) else set()


def synchronised() -> Config:
    """A recipe with both kinds of synchronised BatchNorm, in mixed precision."""
    backbone = dict(type='mmvssm.VMamba', layers=[dict(type='SyncBN')])
    wrapper = dict(type='AmpOptimWrapper', dtype='bfloat16', loss_scale='dynamic')
    return Config(dict(sync_bn='torch', model=dict(backbone=backbone), optim_wrapper=wrapper))


@pytest.mark.parametrize('name', ['', 'upernet_vim_t'], ids=['made here', 'upernet_vim_t'])
def test_nothing_is_synchronised_or_in_half_precision_without_a_gpu(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    cfg = Config.fromfile(CONFIGS / f'{name}.py') if name else synchronised()
    changes = fit_device(cfg)
    assert 'no GPU: BatchNorm in place of SyncBN' in changes
    assert 'sync_bn' not in cfg
    assert norms(cfg.model.to_dict()) <= {'BN'}
    assert cfg.optim_wrapper.type == 'OptimWrapper'
    assert 'dtype' not in cfg.optim_wrapper


def test_on_a_gpu_with_bfloat16_a_recipe_stays_as_it_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda: True)
    cfg = synchronised()
    assert fit_device(cfg) == []
    assert (cfg.sync_bn, cfg.optim_wrapper.dtype) == ('torch', 'bfloat16')
