import copy
import pickle

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS as ROOT
from mmengine.registry import DefaultScope

import mmvssm
from mmvssm import registry
from mmvssm.backbones import load_weights
from mmvssm.weights import CheckpointError

MICRO = dict(type='mmvssm.LocalVMamba', arch='test_localvmamba')


@pytest.fixture(scope='module')
def image():
    return torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """A classifier's checkpoint as the authors publish them."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'micro.pth'
    torch.save({'state_dict': mmvssm.create_model('test_localvmamba').state_dict()}, path)
    return path


@pytest.mark.parametrize('name', ['mmvssm.LocalVMamba', 'LocalVMamba', 'mmvssm.VMamba', 'VMamba'])
@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_names_resolve_in_every_scope(name, scope):
    pytest.importorskip('mmvssm.openmmlab')  # stands in for mmcv's operators, which mmdet's models import
    registry = pytest.importorskip(f'{scope}.registry').MODELS
    with DefaultScope.overwrite_default_scope(scope):
        assert registry.get(name) is ROOT.get(name)


def test_maps_and_norms(image):
    net = registry.build(MICRO)
    assert [tuple(y.shape) for y in net(image)] == [(1, 16, 16, 24), (1, 32, 8, 12), (1, 48, 4, 6), (1, 64, 2, 3)]
    assert 'outnorm0.weight' in net.state_dict()


def test_weights_load_strictly_and_out_norms_are_fresh(weights, image):
    net = registry.build(dict(MICRO, init_cfg=dict(type='Pretrained', checkpoint=str(weights))))
    net.init_weights()
    expected = mmvssm.create_model('test_localvmamba', features_only=True, out_norms=True, pretrained=str(weights))
    for ours, theirs in zip(net.eval()(image), expected.eval()(image)):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_weights_of_another_family_are_refused(weights):
    net = registry.build(dict(type='VMamba', arch='test_vmamba', pretrained=str(weights)))
    with pytest.raises(CheckpointError, match='looks like test_localvmamba'):
        net.init_weights()


def test_a_detector_initialises_its_backbone_once(weights):
    from mmengine.model import BaseModule

    class Detector(BaseModule):
        def __init__(self):
            super().__init__()
            self.backbone = ROOT.build(dict(MICRO, pretrained=str(weights)))

    detector = Detector()
    detector.init_weights()
    stored = torch.load(weights, weights_only=True)['state_dict']
    torch.testing.assert_close(detector.backbone.patch_embed[0].weight, stored['patch_embed.0.weight'])
    assert detector.backbone.is_init


def test_architecture_from_numbers():
    numbers = dict(depths=(1, 1), dims=(8, 16), directions=[['h', 'v']] * 2)
    by_keyword = registry.build(dict(type='LocalVMamba', **numbers))
    by_arch = registry.build(dict(type='LocalVMamba', arch=numbers))
    shapes = [{k: v.shape for k, v in net.state_dict().items()} for net in (by_keyword, by_arch)]
    assert shapes[0] == shapes[1]


def test_keywords_override_the_variant():
    assert registry.build(dict(MICRO, d_state=3)).layers[0].blocks[0].op.A_logs.shape[-1] == 3


@pytest.mark.parametrize(
    ('family', 'arch', 'variant'),
    [
        ('VMamba', 'tiny', 'vmamba_tiny_s1l8'),
        ('VMamba', 'vmambav0_tiny', 'vmambav0_tiny'),
        ('VisionLSTM', 'tiny', 'vil_tiny'),
        ('VisionLSTM', 'vil2_tiny', 'vil2_tiny'),
        ('Vim', 'tiny_stride8', 'vim_tiny_stride8'),
    ],
)
def test_arch_names(family, arch, variant):
    with torch.device('meta'):
        assert registry.build(dict(type=family, arch=arch)).variant == variant


def test_a_scan_order_of_the_users_in_a_config(tmp_path, monkeypatch, image):
    """By its dotted name in a text config, imported in a pure Python one."""
    (tmp_path / 'my_orders.py').write_text(
        'import torch\n\n\ndef order(H, W):\n    return torch.arange(H * W).flip(0)\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    line = "model = dict(type='mmvssm.LocalVMamba', arch='test_localvmamba', directions=[['v', {}]] * 5)\n"
    (tmp_path / 'text.py').write_text(line.format("'my_orders.order'"))
    imports = 'from mmengine.config import read_base\nfrom my_orders import order\n'
    (tmp_path / 'pure.py').write_text(imports + line.format('order'))
    maps = []
    for name in ('text.py', 'pure.py'):
        torch.manual_seed(0)
        net = registry.build(Config.fromfile(str(tmp_path / name)).model).eval()
        with torch.no_grad():
            maps.append(net(image)[0])
    assert torch.equal(*maps)


def test_maps_that_are_not_asked_for_are_not_held(image):
    """A published detector's file with all four out-norms loads; freezing may reach beyond the last stage held."""
    whole, few = registry.build(MICRO), registry.build(dict(MICRO, out_indices=(0, 1), frozen_stages=4))
    report = load_weights(few, whole.state_dict(), log=False)
    assert {'outnorm3.weight', 'layers.2.blocks.0.norm.weight'} <= set(report.dropped)
    assert len(few.layers) == 2
    for a, b in zip(few.eval()(image), whole.eval()(image)):
        torch.testing.assert_close(a, b)


def test_frozen_stages_stay_frozen_in_training(image):
    net = registry.build(dict(MICRO, frozen_stages=1, drop_path_rate=0.5)).train()
    frozen = {
        name.split('.')[0] + '.' + name.split('.')[1] for name, p in net.named_parameters() if not p.requires_grad
    }
    assert frozen == {'patch_embed.0', 'patch_embed.2', 'layers.0'}
    assert not net.layers[0].training
    assert net.layers[1].training
    sum(y.sum() for y in net(image)).backward()


def test_norm_eval_keeps_batch_norm_statistics():
    net = registry.build(dict(MICRO, norm_eval=True))
    net.add_module('batch_norm', torch.nn.BatchNorm2d(3))
    assert not net.train().batch_norm.training


def test_checkpointing_changes_no_gradient(image):
    torch.manual_seed(0)
    plain = registry.build(MICRO).train()
    saving = registry.build(dict(MICRO, with_cp=True)).train()
    saving.load_state_dict(plain.state_dict())
    for net in (plain, saving):
        sum(y.square().sum() for y in net(image)).backward()
    for a, b in zip(plain.parameters(), saving.parameters()):
        torch.testing.assert_close(a.grad, b.grad)


def test_models_can_be_copied_and_pickled():
    net = registry.build(MICRO)
    assert type(pickle.loads(pickle.dumps(net))) is type(copy.deepcopy(net)) is type(net)


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(arch='tinyy'), "arch='tinyy' .* tiny, small"),
        (dict(arch='tiny', out_indices=(0, 9)), r'out_indices=\(0, 9\) holds 9; allowed: 0 to 3'),
        (dict(arch='tiny', depth=3), "unknown field 'depth'; allowed: arch, out_indices, .*depths"),
        (dict(arch='tiny', num_classes=7), "unknown field 'num_classes'"),
        (dict(arch='tiny', frozen_stages=7), 'frozen_stages=7 is not supported; allowed: -1 to 4'),
        (dict(arch='tiny', init_cfg=dict(type='Kaiming')), 'init_cfg=.*Kaiming.* allowed: None or'),
        (
            dict(arch='tiny', init_cfg=dict(type='Pretrained', checkpoint='a', prefix='neck.')),
            "init_cfg.prefix='neck.'",
        ),
        (dict(arch='tiny', init_cfg=dict(type='Pretrained', checkpoint='a'), pretrained='b'), 'the same thing'),
        (dict(arch='tiny', directions=[['h']]), 'directions has 1 layers, the model 15'),
        (dict(arch='tiny', drop_path_rate=1.5), 'drop_path_rate=1.5'),
    ],
    ids=lambda v: next(reversed(v)) if isinstance(v, dict) else '',
)
def test_mistakes_are_named_in_one_line(cfg, message):
    with torch.device('meta'), pytest.raises((ValueError, TypeError), match=message) as caught:
        registry.build(dict(type='LocalVMamba', **cfg))
    assert '\n' not in str(caught.value)
