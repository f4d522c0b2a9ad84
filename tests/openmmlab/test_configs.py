"""The configs are the published recipes: what they build, and with which numbers it is trained."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

ROOT = Path(__file__).parents[2] / 'configs'
# millions of parameters of the whole model: papers and model zoos (table in the specs); LocalVMamba's are the paper's
PARAMETERS = {
    'mask_rcnn_localvmamba_t': 45,
    'mask_rcnn_localvmamba_s': 69,
    'mask_rcnn_vmamba_t': 50,
    'mask_rcnn_vmamba_s': 70,
    'mask_rcnn_vmamba_b': 108,
    'upernet_localvmamba_t': 57,
    'upernet_localvmamba_s': 81,
    'upernet_vmamba_t': 62,
    'upernet_vmamba_s': 82,
    'upernet_vmamba_b': 122,
}
DROP_PATH = {
    'mask_rcnn_localvmamba_t': 0.2,
    'mask_rcnn_localvmamba_s': 0.2,
    'upernet_localvmamba_t': 0.1,
    'upernet_localvmamba_s': 0.2,
    **{
        f'{task}_vmamba_{size}': rate for task in ('mask_rcnn', 'upernet') for size, rate in zip('tsb', (0.2, 0.3, 0.6))
    },
}
MIXED_PRECISION = {'mask_rcnn_localvmamba_t', 'mask_rcnn_localvmamba_s', 'upernet_localvmamba_s'}


def load(name):
    return Config.fromfile(ROOT / f'{name}.py')


def build(cfg):
    with torch.device('meta'), DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(cfg.model)


@pytest.mark.parametrize('name', PARAMETERS)
def test_size_is_the_published_one(name):
    millions = sum(p.numel() for p in build(load(name)).parameters()) / 1e6
    if name.startswith('upernet'):  # as published, without the auxiliary head's 3x3 convolution or with it: within 2 M
        assert millions == pytest.approx(PARAMETERS[name], abs=2)
    else:
        assert millions == pytest.approx(PARAMETERS[name], abs=0.6)


@pytest.mark.parametrize('name', PARAMETERS)
def test_recipe(name):
    cfg = load(name)
    detector = name.startswith('mask_rcnn')
    assert cfg.model.backbone.drop_path_rate == DROP_PATH[name]
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == (
        'AdamW',
        *((1e-4, 0.05) if detector else (6e-5, 0.01)),
    )
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys == {'norm': {'decay_mult': 0.0}}
    assert (cfg.optim_wrapper.type == 'AmpOptimWrapper') == (name in MIXED_PRECISION)
    assert cfg.optim_wrapper.get('dtype', 'bfloat16') == 'bfloat16'
    assert (cfg.train_dataloader.batch_size, cfg.auto_scale_lr.base_batch_size) == (2, 16)
    warmup, main = cfg.param_scheduler
    if detector:
        assert (cfg.train_cfg.max_epochs, main.milestones) == (12, [8, 11])
        assert (warmup.end, warmup.start_factor) == (1000, 0.001)
    else:
        assert (cfg.train_cfg.max_iters, main.end, main.power, main.eta_min) == (160000, 160000, 1.0, 0.0)
        assert (warmup.end, warmup.start_factor) == (1500, 1e-6)


@pytest.mark.parametrize('name', PARAMETERS)
def test_weights_are_the_published_ones_or_none(name):
    from mmvssm import weights

    init = load(name).model.backbone.get('init_cfg')
    if name.endswith('localvmamba_t'):
        assert init is None
    else:
        variant = build(load(name)).backbone.variant
        assert init.checkpoint == weights.default_checkpoint(variant).url


def test_data_stand_at_their_usual_places():
    assert load('mask_rcnn_vmamba_t').train_dataloader.dataset.data_root == 'data/coco/'
    assert load('upernet_vmamba_t').train_dataloader.dataset.data_root == 'data/ade/ADEChallengeData2016'


@pytest.mark.parametrize('name', sorted(path.stem for path in (ROOT / 'demo').glob('*.py')))
def test_demo_models_are_small_and_fit_together(name):
    cfg = load(f'demo/{name}')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model).eval()
    assert sum(p.numel() for p in model.parameters()) < 3e6
    with torch.no_grad():
        maps = model.extract_feat(torch.zeros(1, 3, 128, 128))
    assert [m.shape[-1] for m in maps[:4]] == [32, 16, 8, 4]
