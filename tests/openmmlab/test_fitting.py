"""Full-size recipes on the embedded images."""

import copy

import pytest

from mmvssm import configs
from mmvssm.openmmlab import config_files, data, fitting, preflight
from tests.openmmlab.test_data import built

FULL_SIZE = [name for name in configs.names() if not name.startswith(('demo/', 'imagenet_'))]


def fitted(name):
    path = configs.find(name)
    cfg = config_files.read(path)
    data.point_to(cfg, 'demo')
    return cfg, fitting.fit_to_embedded(cfg, path)


@pytest.mark.parametrize('name', FULL_SIZE)
def test_a_recipe_is_short_small_and_from_scratch(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg, said = fitted(name)
    assert 'sizes x' in said
    assert '200 iterations, from scratch' in said
    assert cfg.train_cfg.max_iters == 200
    assert cfg.model.backbone.get('init_cfg') is None


@pytest.mark.parametrize('name', ['mask_rcnn_vmamba_t', 'mask_rcnn_vmamba_t_3x', 'upernet_vmamba_t', 'mask_rcnn_vim_t'])
def test_its_samples_are_of_the_images_size(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg, _ = fitted(name)
    preflight.check(cfg, training=True)
    height, width = built(cfg, 'train')[0]['inputs'].shape[-2:]
    assert min(height, width) >= 16
    assert max(height, width) <= 448


@pytest.mark.parametrize('name', ['demo/mask_rcnn_vmamba_nuclei', 'demo/upernet_localvmamba_demo'])
def test_a_config_for_the_images_stays_what_it_is(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = configs.find(name)
    cfg = config_files.read(path)
    before = copy.deepcopy(cfg._cfg_dict)
    assert fitting.fit_to_embedded(cfg, path) is None
    assert cfg._cfg_dict == before
