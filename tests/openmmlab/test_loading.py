"""Every way that leads to a model with a backbone of this project is strict, and reads what the authors wrote."""

import re

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import Runner, load_checkpoint
from mmengine.runner import checkpoint as mmengine_checkpoint
from torch import nn
from torch.utils.data import DataLoader

import mmvssm.openmmlab  # noqa: F401
from mmvssm.backbones import create_model
from mmvssm.openmmlab import loading
from mmvssm.openmmlab.hooks import strict_load
from mmvssm.weights import CheckpointError, KeyMismatchError

from .test_config_models import build, detection_batch, load, segmentation_batch, shrink


def micro(name: str) -> Config:
    cfg = shrink(load(name))
    cfg.custom_imports = None
    return cfg


@pytest.fixture(scope='module')
def detector():
    cfg = micro('mask_rcnn_vmamba_t')
    return cfg, randomized(build(cfg))


@pytest.fixture(scope='module')
def segmentors():
    made = {}
    for name in ('upernet_vil_t', 'upernet_vim_t'):
        cfg = micro(name)
        made[name] = cfg, randomized(build(cfg))
    return made


def randomized(model: nn.Module) -> nn.Module:
    """Values that no constructor draws, in running statistics and counters too."""
    generator = torch.Generator().manual_seed(3)
    for value in model.state_dict().values():
        noise = torch.rand(value.shape, generator=generator) - 0.5
        value.copy_(value + 0.02 * noise if value.is_floating_point() else value + 3)
    return model.eval()


def saved(content, tmp_path) -> str:
    torch.save(content, tmp_path / 'x.pth')
    return str(tmp_path / 'x.pth')


def boxes(model, batch):
    with torch.no_grad():
        return [(r.pred_instances.bboxes, r.pred_instances.labels) for r in model.test_step(batch)]


def labels(model, batch):
    with torch.no_grad():
        return [r.pred_sem_seg.data for r in model.test_step(batch)]


def add(prefix, state):
    return {prefix + name: value for name, value in state.items()}


def january(name: str) -> str:
    """A name of the January 2024 code."""
    name = re.sub(r'(blocks\.\d+)\.norm\.', r'\1.ln_1.', name).replace('.op.', '.self_attention.')
    return name.replace('backbone.patch_embed.0.', 'backbone.patch_embed.proj.')


LAYOUTS = {
    'mmengine': lambda state: {'state_dict': state, 'meta': {'epoch': 12}},
    'ddp': lambda state: {'state_dict': add('module.', state)},
    'compiled': lambda state: {'model': add('_orig_mod.', state)},
    'lightning': lambda state: {'state_dict': {**add('model.', state), 'loss.weight': torch.ones(1)}},
    'averaged beside': lambda state: {'model': {k: v * 0 for k, v in state.items()}, 'model_ema': state},
    'first release': lambda state: {'state_dict': {january(k): v for k, v in state.items()}},
}


@pytest.mark.parametrize('layout', LAYOUTS)
def test_a_detectors_file_in_each_layout_gives_the_same_state(detector, layout):
    _, source = detector
    state = source.state_dict()
    got, fresh = loading.fitting_state(source, LAYOUTS[layout](state))
    assert not fresh
    assert list(got) == list(state)
    assert all(torch.equal(got[name], value) for name, value in state.items())


def test_init_detector_gives_the_boxes_of_the_authors_file(detector, tmp_path):
    from mmdet.apis import init_detector

    cfg, source = detector
    path = saved(LAYOUTS['first release'](source.state_dict()), tmp_path)
    model = init_detector(cfg, path, device='cpu')
    batch = detection_batch()
    for got, want in zip(boxes(model, batch), boxes(source, batch), strict=True):
        assert len(want[0])
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def vil_layout(name: str) -> str:
    """ViL's segmentation code: encoder, postprocessor, decoder, auxiliary."""
    for own, theirs in (
        (r'^backbone\.', 'encoder.'),
        (r'^neck\.fpn1\.', 'postprocessor.processors.0.'),
        (r'^neck\.fpn2\.0\.', 'postprocessor.processors.1.'),
        (r'^decode_head\.conv_seg\.', 'decoder.classifier.'),
        (r'^auxiliary_head\.conv_seg\.', 'auxiliary.classifier.'),
        (r'^(decode|auxiliary)_head\.(.*)\.bn\.', r'\1_head.\2.batch_norm.'),
        (r'^decode_head\.', 'decoder.'),
        (r'^auxiliary_head\.', 'auxiliary.'),
    ):
        name = re.sub(own, theirs, name)
    return name


def vim_layout(name: str) -> str:
    """Vim's segmentation code: the neck is a part of the backbone."""
    return re.sub(r'^neck\.', 'backbone.', name)


@pytest.mark.parametrize(('name', 'rename'), [('upernet_vil_t', vil_layout), ('upernet_vim_t', vim_layout)])
def test_init_model_gives_the_labels_of_the_authors_segmentor(segmentors, name, rename, tmp_path):
    from mmseg.apis import init_model

    cfg, source = segmentors[name]
    state = {rename(key): value for key, value in source.state_dict().items()}
    assert len(state) == len(source.state_dict())
    assert not [key for key in state if key.startswith('neck.')]
    if name == 'upernet_vim_t':  # it stays in the published file, unused
        state['backbone.norm_f.weight'] = torch.ones(48)
    model = init_model(cfg, saved({'state_dict': state}, tmp_path), device='cpu')
    batch = segmentation_batch()
    for got, want in zip(labels(model, batch), labels(source, batch), strict=True):
        assert torch.equal(got, want)


def test_rotation_tables_in_a_segmentors_file_are_not_dropped(segmentors):
    _, source = segmentors['upernet_vim_t']
    tables = add('backbone.', {k: torch.ones(16, 48) for k in ('rope.freqs_cos', 'rope.freqs_sin')})
    with pytest.raises(KeyMismatchError, match=r'backbone\.rope\.freqs_cos(.|\n)*rope=True'):
        loading.fitting_state(source, {**source.state_dict(), **tables})


def strange(model: nn.Module) -> dict:
    """A detector's or segmentor's file with the backbone of another family."""
    other = create_model('test_localvmamba', features_only=True, out_norms=True).state_dict()
    rest = {k: v for k, v in model.state_dict().items() if not k.startswith('backbone.')}
    return {'state_dict': {**add('backbone.', other), **rest}, 'meta': {'dataset_meta': {'classes': ('a',)}}}


def by_init_detector(cfg, path):
    from mmdet.apis import init_detector

    init_detector(cfg, path, device='cpu')


def by_inferencer(cfg, path):
    from mmdet.apis import DetInferencer

    DetInferencer(cfg, path, device='cpu')


def by_mmengine(cfg, path):
    load_checkpoint(build(cfg), path)


@pytest.mark.parametrize('way', [by_init_detector, by_inferencer, by_mmengine])
def test_a_detector_with_another_backbone_is_refused(detector, way, tmp_path):
    cfg, source = detector
    with pytest.raises(CheckpointError, match='its backbone looks like test_localvmamba') as error:
        way(cfg, saved(strange(source), tmp_path))
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize('way', [by_init_detector, by_mmengine])
def test_a_classifiers_file_is_said_to_lack_neck_and_head(detector, way, tmp_path):
    cfg, _ = detector
    path = saved(create_model('test_vmamba', num_classes=10).state_dict(), tmp_path)
    with pytest.raises(CheckpointError, match=r'without neck and head.*model\.backbone\.pretrained') as error:
        way(cfg, path)
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize('way', ['init_model', 'MMSegInferencer'])
def test_a_segmentor_with_another_backbone_is_refused(segmentors, way, tmp_path):
    import mmseg.apis

    cfg, source = segmentors['upernet_vim_t']
    with pytest.raises(CheckpointError, match='its backbone looks like test_localvmamba'):
        getattr(mmseg.apis, way)(cfg, saved(strange(source), tmp_path), device='cpu')


@pytest.mark.parametrize('what', ['missing', 'left over', 'of a wrong shape', 'NaN'])
def test_heads_are_compared_too(detector, what):
    _, source = detector
    key = 'roi_head.bbox_head.fc_cls.weight'
    state = dict(source.state_dict())
    value = state.pop(key)
    if what == 'NaN':
        state[key] = value * float('nan')
    elif what != 'missing':
        state[key + 's' * (what == 'left over')] = value[1:]
    with pytest.raises(CheckpointError, match=key):
        loading.fitting_state(source, {'state_dict': state})


def test_a_detectors_file_must_have_its_out_norms(detector):
    _, source = detector
    state = {name: value for name, value in source.state_dict().items() if 'outnorm2' not in name}
    with pytest.raises(KeyMismatchError, match=r'2 missing \(backbone\.outnorm2\.weight, backbone\.outnorm2\.bias\)'):
        loading.fitting_state(source, {'state_dict': state})


def test_heads_of_other_classes_stay_fresh_in_fine_tuning_and_the_backbone_does_not(detector):
    _, source = detector
    key = 'roi_head.bbox_head.fc_cls.weight'
    state = {**source.state_dict(), key: torch.zeros(3, 5)}
    got, fresh = loading.fitting_state(source, {'state_dict': state}, heads_may_differ=True)
    assert fresh == [key]
    assert torch.equal(got[key], source.state_dict()[key])
    spoiled = {k: v for k, v in state.items() if k != 'backbone.patch_embed.0.weight'}
    with pytest.raises(KeyMismatchError, match=r'1 missing \(backbone\.patch_embed\.0\.weight\)'):
        loading.fitting_state(source, {'state_dict': spoiled}, heads_may_differ=True)


def test_the_message_names_the_arch_of_the_file(segmentors):
    cfg, _ = segmentors['upernet_vim_t']
    backbone = MODELS.build(dict(cfg.model.backbone, arch='vim_tiny'))
    state = create_model('vim_small', features_only=True).state_dict()
    whole = nn.ModuleDict({'backbone': backbone})
    with pytest.raises(KeyMismatchError, match=r'looks like vim_small, which is model\.backbone\.arch=vim_small'):
        loading.fitting_state(whole, add('backbone.', state))


def test_several_backbones_take_their_own_layout():
    pair = nn.ModuleDict({k: nn.ModuleDict({'backbone': create_model('test_vmamba')}) for k in ('student', 'teacher')})
    state = pair.state_dict()
    got, _ = loading.fitting_state(pair, {'state_dict': state})
    assert list(got) == list(state)
    del state['teacher.backbone.patch_embed.0.weight']
    with pytest.raises(KeyMismatchError, match='1 missing'):
        load_checkpoint_content(pair, state)


def load_checkpoint_content(model, state):
    mmengine_checkpoint.load_state_dict(model, state)


def test_a_backbone_alone_takes_its_part_of_a_detectors_file(detector):
    _, source = detector
    net = MODELS.build(dict(type='mmvssm.VMamba', arch='test_vmamba'))
    load_checkpoint_content(net, {'state_dict': source.state_dict()})
    assert all(torch.equal(value, source.backbone.state_dict()[name]) for name, value in net.state_dict().items())


def test_other_models_keep_mmengines_behaviour():
    net = nn.Linear(2, 3)
    load_checkpoint_content(net, {'weight': torch.ones(3, 2), 'more': torch.ones(1)})
    assert torch.equal(net.weight, torch.ones(3, 2))


def test_a_compiled_model_is_loaded_inside():
    net = nn.ModuleDict({'backbone': create_model('test_vmamba', num_classes=2)})
    state = {name: value + 1 for name, value in net.state_dict().items()}
    load_checkpoint_content(torch.compile(net), {'state_dict': state}['state_dict'])
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


class Whole(BaseModel):
    """A backbone of this project and a head of some number of classes."""

    def __init__(self, classes):
        super().__init__()
        self.backbone, self.head = create_model('test_vmamba', features_only=True), nn.Linear(2, classes)

    def forward(self, x, mode='tensor'):
        return x


@pytest.mark.parametrize('trains', [False, True], ids=['tests', 'trains'])
def test_a_run_is_strict_without_asking_but_for_heads_in_fine_tuning(trains, tmp_path):
    state = Whole(classes=3).state_dict()
    path = saved({'state_dict': state}, tmp_path)
    runner = Runner(
        Whole(classes=5),
        work_dir=str(tmp_path),
        train_dataloader=DataLoader([0]),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-3)),
        experiment_name=f'loading{id(state)}',
    )
    if trains:
        runner._train_loop = runner.build_train_loop(runner._train_loop)
        runner.load_checkpoint(path)
        assert torch.equal(runner.model.backbone.patch_embed[0].weight, state['backbone.patch_embed.0.weight'])
        assert runner.model.head.weight.shape == (5, 2)
    else:
        with pytest.raises(KeyMismatchError, match=r'head\.weight: 3x2 instead of 5x2'):
            runner.load_checkpoint(path)
    del state['backbone.patch_embed.0.weight']
    with pytest.raises(KeyMismatchError, match=r'1 missing \(backbone\.patch_embed\.0\.weight\)'):
        runner.load_checkpoint(saved({'state_dict': state}, tmp_path))


def test_installing_twice_changes_nothing():
    before = mmengine_checkpoint.load_state_dict
    strict_load.install()
    assert mmengine_checkpoint.load_state_dict is before
