"""Distillation: the loss by its definition, what learns and what does not, runs of it, and what a detector takes."""

import copy
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import constants
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from torch.nn import functional as F

import mmvssm.openmmlab  # noqa: F401
from mmvssm import commands, configs
from mmvssm.errors import UsageError
from mmvssm.openmmlab import data, preflight
from mmvssm.openmmlab.distillation import Teacher
from mmvssm.openmmlab.tasks import DISTILLATION, task_of
from mmvssm.weights import read_checkpoint

STUDENTS = {
    'VMamba': 'test_vmamba',
    'LocalVMamba': 'test_localvmamba',
    'EfficientVMamba': 'test_efficientvmamba',
    'Heracles': 'test_heracles',
    'VisionLSTM': 'test_vil',
    'Vim': 'test_vim',
    'LocalVim': 'test_localvim',
}
CONFIG = """
_base_ = ['{base}']
model = dict(
    _delete_=True,
    type='mmvssm.Distiller',
    backbone=dict(type='mmvssm.VMamba', arch='test_vmamba'),
    teacher=dict(model_name='test_convnext', pretrained=True, pretrained_cfg_overlay=dict(file='{file}')),
    pairs=[(2, 2), (3, 3)],
)
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(size=40))
val_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(size=40))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=4, val_interval=2)
param_scheduler = []
randomness = dict(seed=3)
default_hooks = dict(checkpoint=dict(interval=2), logger=dict(interval=1))
"""


def distiller(backbone='VMamba', teacher='test_convnext', **more):
    torch.manual_seed(0)
    built = dict(type=f'mmvssm.{backbone}', arch=STUDENTS[backbone])
    return MODELS.build(dict(type='mmvssm.Distiller', backbone=built, teacher=dict(model_name=teacher), **more))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Nine images of odd sizes in two folders; a teacher's file; a small config."""
    folder, rng = tmp_path_factory.mktemp('distill'), np.random.default_rng(0)
    for i in range(9):
        path = folder / 'images' / f'{i % 2}' / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (41 + i, 53, 3), dtype=np.uint8)).save(path)
    torch.manual_seed(1)
    torch.save(timm.create_model('test_convnext').state_dict(), folder / 'teacher.pth')
    base = configs.FOLDER / '_base_/distill_20k.py'
    (folder / 'small.py').write_text(CONFIG.format(base=base, file=folder / 'teacher.pth'))
    return folder


def train(folder, out, *more):
    given = ['--data', str(folder / 'images'), '--work-dir', str(out)]
    commands.main(['train', str(folder / 'small.py'), *given, *more])


def test_the_loss_is_one_minus_the_cosine_on_the_smaller_grid():
    model, x = distiller(pairs=[(1, -1), (3, 1)], standardise=False).eval(), torch.randn(2, 3, 65, 47)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    teacher = model.teacher._model  # normalises by 0.5
    wanted = teacher.forward_intermediates((x * std + mean - 0.5) / 0.5, intermediates_only=True)
    wanted, maps, total = wanted[-4:], model.backbone(x), 0  # older releases of timm have the stem's before them
    for n, (i, j) in enumerate([(1, 3), (3, 1)]):
        own, other = model.projections[n](maps[i]), wanted[j]
        grid = [min(a, b) for a, b in zip(own.shape[2:], other.shape[2:])]
        own, other = (F.interpolate(m, grid, mode='bilinear') for m in (own, other))
        total = total + 1 - F.cosine_similarity(own, other, dim=1).mean()
    got = model(x, mode='loss')
    torch.testing.assert_close(got['loss'], total / 2)
    torch.testing.assert_close(1 - (got['cosine_0'] + got['cosine_1']) / 2, got['loss'].detach())
    torch.testing.assert_close(1 - torch.stack(model(x, mode='predict')).mean(), got['loss'].detach())


def test_the_loss_is_none_where_both_are_the_same():
    model, x = (
        distiller(teacher='test_vmamba', pairs=[(0, 0), (3, 3)], standardise=False).eval(),
        torch.randn(2, 3, 33, 50),
    )
    state = {k: v for k, v in model.teacher._model.state_dict().items() if not k.startswith('classifier')}
    model.backbone.load_state_dict(state, strict=False)
    for i, projection in enumerate(model.projections):
        torch.nn.init.dirac_(projection.weight)
        torch.nn.init.zeros_(projection.bias)
        setattr(model.backbone, f'outnorm{3 * i}', torch.nn.Identity())
    assert model(x, mode='loss')['loss'].abs() < 1e-5


def test_channels_of_the_teacher_are_standardised():
    model, x = distiller(pairs=[(3, 1)]), torch.randn(4, 3, 65, 47)
    model.train()
    wanted = model.teacher.maps(x, [1])[0]
    mean, std = wanted.mean((0, 2, 3), keepdim=True), wanted.std((0, 2, 3), keepdim=True, unbiased=False)
    own = model.projections[0](model.backbone(x)[3])
    wanted = F.interpolate((wanted - mean) / (std.square() + 1e-5).sqrt(), own.shape[2:], mode='bilinear')
    torch.testing.assert_close(model(x, mode='loss')['loss'], 1 - F.cosine_similarity(own, wanted, dim=1).mean())


def test_an_images_cosine_does_not_depend_on_its_batch():
    model, x = distiller(), torch.randn(3, 3, 64, 48)
    model.train()(x, mode='loss')
    together = model.eval()(x, mode='predict')
    torch.testing.assert_close(model(x[1:2], mode='predict')[0], together[1])


@pytest.mark.parametrize('teacher', ['test_vit', 'test_convnext', 'swin_tiny_patch4_window7_224'])
def test_teachers_of_every_layout_give_maps_of_their_channels(teacher):
    own = Teacher(teacher)
    last = len(own.channels) - 1
    maps = own.maps(torch.randn(1, 3, 224, 224), [0, last])
    assert [m.shape[1] for m in maps] == [own.channels[0], own.channels[last]]


@pytest.mark.parametrize('student', STUDENTS)
def test_backbone_and_projections_learn_and_nothing_else(student):
    model, x = distiller(student), torch.randn(2, 3, 64, 48)
    before = copy.deepcopy(model.teacher._model.state_dict())
    model.train()
    model(x, mode='loss')['loss'].backward()
    learnt = {name.partition('.')[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert learnt == {'backbone', 'projections'}
    assert not any(p.requires_grad or p.grad is not None for p in model.teacher._model.parameters())
    assert not model.teacher._model.training
    assert all(torch.equal(before[k], v) for k, v in model.teacher._model.state_dict().items())


def test_the_teacher_is_in_no_state_and_in_no_copy():
    model = distiller()
    assert {name.partition('.')[0] for name in model.state_dict()} == {'backbone', 'projections', 'standards'}
    assert copy.deepcopy(model).teacher is model.teacher


def test_a_teacher_follows_the_images_type():
    x = torch.randn(1, 3, 64, 64)
    with torch.autocast('cpu', torch.bfloat16):
        assert distiller()(x, mode='loss')['loss'].dtype == torch.float32


def test_a_run_resumes_and_its_checkpoint_is_a_backbone(folder, tmp_path, capsys):
    train(folder, tmp_path / 'whole')
    train(folder, tmp_path / 'halves', '--cfg-options', 'train_cfg.max_iters=2')
    train(folder, tmp_path / 'halves', '--resume')
    states = [read_checkpoint(tmp_path / name / 'iter_4.pth')['state_dict'] for name in ('whole', 'halves')]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not any(name.startswith('teacher') for name in states[0])

    own = dict(type='Pretrained', checkpoint=str(tmp_path / 'whole/iter_4.pth'))
    backbone = MODELS.build(dict(type='mmvssm.VMamba', arch='test_vmamba', init_cfg=own))
    backbone.init_weights()
    assert all(torch.equal(v, states[0][f'backbone.{k}']) for k, v in backbone.state_dict().items())

    commands.main(['test', str(folder / 'small.py'), str(tmp_path / 'whole/iter_4.pth'), '--data']
                  + [str(folder / 'images'), '--work-dir', str(tmp_path / 'test')])  # fmt: skip
    assert 'distillation/cosine' in capsys.readouterr().out


@pytest.mark.parametrize('more', [['--amp'], ['--ema'], ['--accumulate', '2']], ids=lambda more: more[0])
def test_helps_of_other_runs_are_this_ones_too(folder, tmp_path, more):
    train(folder, tmp_path, *more)
    assert (tmp_path / 'iter_4.pth').exists()


def test_labels_are_not_looked_at(folder, tmp_path):
    for place in ('images/train', 'images/val', 'annotations/train', 'masks'):
        (tmp_path / place).mkdir(parents=True)
        Image.new('RGB', (20, 10)).save(tmp_path / place / 'a.png')
    cfg = Config.fromfile(folder / 'small.py')
    data.point_to(cfg, str(tmp_path))
    assert cfg.train_dataloader.dataset.root == str(tmp_path / 'images/train')
    assert cfg.val_dataloader.dataset.root == str(tmp_path / 'images/val')
    assert data.check(cfg, 'train').images == dict(train=1)


def test_some_of_a_folder_without_parts_are_held_out(folder):
    cfg = Config.fromfile(folder / 'small.py')
    data.point_to(cfg, str(folder / 'images'))
    assert [sum(data.check(cfg, part).images.values()) for part in ('train', 'val')] == [8, 1]
    assert task_of(cfg) is DISTILLATION


WRONG = {
    'teacher': (dict(teacher=dict(model_name='test_convnexx')), 'teacher.model_name=.*such as.* test_convnext'),
    'no name': (dict(teacher=dict(pretrained=True)), "a dict with 'model_name'"),
    'option': (dict(teacher=dict(model_name='test_convnext', width=3)), 'does not take these options'),
    'maps': (dict(teacher=dict(model_name='test_convnext', out_indices=(1,))), 'teacher.out_indices'),
    'own map': (dict(pairs=[(4, 0)]), r'pairs=4 .* allowed: -4 to 3 of the backbone'),
    'its map': (dict(pairs=[(0, -5)]), r'pairs=-5 .* allowed: -4 to 3 of the teacher'),
    'no pair': (dict(pairs=[]), 'pairs='),
    'triple': (dict(pairs=[(1, 2, 3)]), 'pairs='),
}


@pytest.mark.parametrize('name', WRONG)
def test_what_cannot_be_is_an_error(name):
    given, message = WRONG[name]
    entry = dict(backbone=dict(type='mmvssm.VMamba', arch='test_vmamba'), teacher=dict(model_name='test_convnext'))
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(type='mmvssm.Distiller', **{**entry, **given}))


@pytest.mark.parametrize('teacher', ['test_vit', 'test_vmamba'])
def test_weights_of_another_model_are_refused(folder, teacher):
    own = Teacher(teacher, pretrained=True, pretrained_cfg_overlay=dict(file=str(folder / 'teacher.pth')))
    with pytest.raises(UsageError, match=r'(?s)the weights of the teacher, test_v.*pretrained_cfg_overlay\.file=PATH'):
        own.load()


def test_nothing_is_fetched_where_that_is_forbidden(monkeypatch, tmp_path):
    monkeypatch.setenv('MMVSSM_OFFLINE', '1')
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    with pytest.raises(UsageError, match='the weights of the teacher, resnet18, cannot be had'):
        Teacher('resnet18', pretrained=True).load()
    assert constants.HF_HUB_OFFLINE


@pytest.mark.parametrize('name', sorted(p.stem for p in configs.FOLDER.glob('distill_*.py')))
def test_the_configs_pair_maps_that_there_are(name):
    cfg = Config.fromfile(configs.FOLDER / f'{name}.py')
    init_default_scope('mmengine')
    cfg.model.backbone.init_cfg, cfg.model.teacher.pretrained = None, False
    preflight.check(cfg, training=True)
    model = MODELS.build(cfg.model)
    assert len(model.pairs) == len(cfg.model.get('pairs', [1]))
    assert Path(cfg.train_dataloader.dataset.root) == Path('data/coco/train2017')
