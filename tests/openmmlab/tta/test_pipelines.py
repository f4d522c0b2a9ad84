"""Views made out of a test pipeline."""

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

import mmvssm.openmmlab  # noqa: F401
from mmvssm.openmmlab.tta import pipelines

LOAD = dict(type='LoadImageFromNDArray')
RESIZE = dict(type='Resize', scale=(60, 40), keep_ratio=True)
PAD = dict(type='Pad', size=(64, 64), pad_val=dict(img=(7, 7, 7)))
PACK = dict(type='PackDetInputs', meta_keys=('ori_shape', 'img_shape', 'scale_factor'))
IMAGE = np.arange(31 * 45 * 3, dtype=np.uint8).reshape(31, 45, 3)


@pytest.fixture(autouse=True)
def scope():
    import mmdet.datasets.transforms  # noqa: F401

    init_default_scope('mmdet')


def views(*steps: dict) -> list:
    """(image, metainfo) of each view."""
    packed = Compose(pipelines.views(list(steps), (1.0, 0.5)))(dict(img=IMAGE, img_id=0))
    return [(i.permute(1, 2, 0).numpy(), s.metainfo) for i, s in zip(packed['inputs'], packed['data_samples'])]


def test_scales_and_mirror_images():
    found = views(LOAD, RESIZE, PACK)
    assert [meta['img_shape'] for _, meta in found] == [(40, 58), (40, 58), (20, 29), (20, 29)]
    assert [meta['flip'] for _, meta in found] == [False, True, False, True]
    assert np.array_equal(found[0][0], found[1][0][:, ::-1])


def test_what_is_padded_is_flipped_before():
    (plain, _), (flipped, meta) = views(LOAD, RESIZE, PAD, PACK)
    assert meta['flip']
    assert (flipped[:, 58:] == 7).all()
    assert np.array_equal(plain[:40, :58], flipped[:40, 57::-1])


@pytest.mark.parametrize('resize', [dict(type='Resize', scale_factor=2.0), dict(type='Resize', scale=(90, 62))])
def test_other_resizes(resize):
    assert [meta['img_shape'] for _, meta in views(LOAD, resize, PACK)] == [(62, 90)] * 2 + [(31, 45)] * 2


def test_images_at_their_own_size():
    assert [meta['img_shape'] for _, meta in views(LOAD, dict(PACK))] == [(31, 45)] * 2


def test_labels_are_loaded_last():
    steps = pipelines.views([LOAD, dict(type='LoadAnnotations'), RESIZE, PACK], (1.0,))
    assert [choice[0]['type'] for choice in steps[-1]['transforms']] == [
        'Resize',
        'RandomFlip',
        'LoadAnnotations',
        'PackDetInputs',
    ]


def config(**given) -> Config:
    dataloader = dict(dataset=dict(pipeline=[LOAD, RESIZE, PACK]))
    return Config(dict(model=dict(type='MaskRCNN'), test_dataloader=dataloader, **given))


def complete(cfg: Config) -> Config:
    pipelines.complete(cfg, dict(type='mmvssm.MaskTTAModel'), 'DetTTAModel', (1.0, 0.8, 1.25))
    return cfg


def scales(cfg: Config) -> list:
    return [step['scale'] for step in cfg.tta_pipeline[-1]['transforms'][0]]


def test_what_a_config_has_stays():
    own = dict(tta_model=dict(type='Own'), tta_pipeline=[LOAD])
    cfg = complete(config(**own))
    assert (cfg.tta_model.type, len(cfg.tta_pipeline)) == ('Own', 1)


@pytest.mark.parametrize('name', ['DetTTAModel', 'mmdet.DetTTAModel'])
def test_mmdets_own_is_replaced_and_keeps_its_settings(name):
    cfg = complete(config(tta_model=dict(type=name, tta_cfg=dict(max_per_img=7))))
    assert cfg.tta_model == dict(type='mmvssm.MaskTTAModel', tta_cfg=dict(max_per_img=7))


def test_scales_of_the_test_size():
    assert scales(complete(config())) == [(60, 40), (48, 32), (75, 50)]


def test_a_model_of_one_size_gets_no_larger_images():
    cfg = config()
    cfg.model.data_preprocessor = dict(type='mmvssm.FixedSizeDataPreprocessor', size=(60, 60))
    assert scales(complete(cfg)) == [(60, 40), (48, 32)]
