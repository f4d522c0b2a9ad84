"""The configs train: with a micro backbone in place and narrow data, steps of the config's own optimizer, predictions.

One config for each method and family, the others slow; test_configs.py builds all of them.
"""

import copy
import re
from pathlib import Path

import mmdet
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData, PixelData
from mmengine.utils import digit_version

import mmvssm.openmmlab  # noqa: F401
from mmvssm.backbones import create_model

ROOT = Path(__file__).parents[2] / 'configs'


def scope(path: Path) -> str:
    """The `default_scope` of a config, or of its bases; mmengine takes a second for five configs."""
    text = path.read_text(encoding='utf-8')
    if found := re.search(r"^default_scope = '(\w+)'|^ *'(mm\w+)::|'(mm\w+)::_base_|= \['(mm\w+)::", text, re.M):
        return next(filter(None, found.groups()))
    bases = re.search(r'^_base_ = \[(.*?)\]', text, re.M | re.S)
    named = re.findall(r"'([^':]+\.py)'", bases[1]) if bases else []
    return next(filter(None, (scope(path.parent / base) for base in named)), '')


def of_scope(wanted: str) -> list:
    """Every config of a scope; the first of each method and family is quick, the others are slow."""
    names = [path.stem for path in sorted(ROOT.glob('*.py')) if scope(path) == wanted]
    first = {re.sub(r'_[tsbl](_.*)?$', '', name): name for name in sorted(names, key=preference, reverse=True)}
    return [pytest.param(name, marks=() if name in first.values() else pytest.mark.slow) for name in names]


def preference(name: str) -> tuple:
    return not name.endswith(('_t', '_s')), not name.endswith('_t'), name


DETECTORS, SEGMENTORS = of_scope('mmdet'), of_scope('mmseg')


def test_every_config_is_of_a_scope_that_is_tested():
    classifiers = of_scope('mmengine')  # see test_classification
    assert len(DETECTORS) + len(SEGMENTORS) + len(classifiers) == len(list(ROOT.glob('*.py')))


def load(name: str) -> Config:
    cfg = Config.fromfile(ROOT / f'{name}.py')
    cfg.model.backbone.pop('init_cfg', None)
    return cfg


def build(cfg: Config) -> torch.nn.Module:
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(copy.deepcopy(cfg.model))
        model.init_weights()  # without it gradients of DETRs overflow
    return model


def family(cfg: Config) -> str:
    name = cfg.model.backbone.type.removeprefix('mmvssm.')
    return {'VisionLSTM': 'vil'}.get(name, name.lower())


def shrink(cfg: Config) -> Config:
    """The family's micro backbone in place of the config's, and everything behind it made narrow."""
    with torch.device('meta'):
        full = MODELS.build(copy.deepcopy(cfg.model.backbone)).feature_info.info
    micro = create_model(f'test_{family(cfg)}', features_only=True).feature_info.info
    backbone = cfg.model.backbone
    backbone.arch = f'test_{family(cfg)}'
    if len(micro) != len(full):  # a plain model has a tap for each block, the shallow one fewer
        taps = len(backbone.out_indices)
        backbone.out_indices = tuple(len(micro) - taps + i for i in range(taps)) if taps <= len(micro) else None
    backbone.pop('img_size', None)
    widths = {a['num_chs']: b['num_chs'] for a, b in zip(full, micro)}
    for part in map(cfg.model.get, ('neck', 'decode_head', 'auxiliary_head', 'panoptic_head')):
        for item in part if isinstance(part, list) else [part]:
            for key in ('in_channels', 'c1_in_channels'):
                if item is not None and key in item:  # else they are those of a neck
                    item[key] = exchanged(item[key], widths)
    quiet_sync_bn(cfg.model)
    if cfg.default_scope == 'mmseg':
        narrow_heads(cfg.model)
        cfg.model.data_preprocessor.size = (128, 128)
    else:
        narrow(cfg.model)
        few_proposals(cfg.model)
    return cfg


def exchanged(channels, widths: dict[int, int]):
    """Other numbers for those that are keys of `widths`."""
    return widths.get(channels, channels) if isinstance(channels, int) else [widths.get(one, one) for one in channels]


def narrow_heads(model) -> None:
    """Of a segmentor: 16 channels, or an eighth of those of a head with queries."""
    for part in (model.decode_head, model.get('auxiliary_head')):
        for head in part if isinstance(part, list) else [part]:
            if head is not None and 'channels' in head:
                head.channels = 16
            elif head is not None:
                narrow(head)


def quiet_sync_bn(node) -> None:
    """SyncBN needs a process group to train; BN is the same in one process."""
    if isinstance(node, dict) and node.get('type') == 'SyncBN':
        node['type'] = 'BN'
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple) else ():
        quiet_sync_bn(item)


WIDTHS = (
    'in_channels', 'out_channels', 'feat_channels', 'embed_dims', 'num_feats', 'feedforward_channels',
    'fc_out_channels', 'conv_out_channels',
)  # fmt: skip
FEW = {
    'num_layers': 1,
    'stacked_convs': 1,
    'num_convs': 1,
    'num_csp_blocks': 1,
    'num_queries': 20,
    'num_dn_queries': 4,
    'num_groups': 4,
    'num_points': 64,
    'max_per_img': 20,
    'max_per_image': 20,
}


def narrow(node, by: int = 8) -> None:
    """An eighth of the width of necks and heads, one layer of each kind, few queries and points."""
    if (
        isinstance(node, dict)
        and node.get('type') == 'DINO'
        and digit_version(mmdet.__version__) < digit_version('3.4')
    ):
        by = 1  # its reference points are encoded in 512 numbers, whatever its width
    for key, value in node.items() if isinstance(node, dict) else ():
        if key in WIDTHS and isinstance(value, int) and value >= 128:
            node[key] = value // by
        elif key in FEW and isinstance(value, int):
            node[key] = min(value, FEW[key])
        elif key != 'backbone':
            narrow(value, by)
    if isinstance(node, dict) and node.get('type') in ('DeformableDETRHead', 'DINOHead'):
        node['embed_dims'] = 256 // by  # which is no part of the config
    for item in node if isinstance(node, list | tuple) else ():
        narrow(item, by)


def few_proposals(model) -> None:
    """The heads' work on proposals is mmdet's own; a few of them show that the maps fit."""
    preprocessor = model.data_preprocessor
    for padded in (preprocessor, *(preprocessor.get('batch_augments') or ())):
        if 'size' in padded:
            padded.size = (128, 128)
    if 'score_thr' in model.test_cfg:
        model.test_cfg.score_thr = 0.0
    if 'rcnn' not in model.test_cfg:
        return
    for rpn in (model.train_cfg.rpn_proposal, model.test_cfg.rpn):
        rpn.update(nms_pre=50, max_per_img=20)
    stages = model.train_cfg.rcnn if isinstance(model.train_cfg.rcnn, list) else [model.train_cfg.rcnn]
    for stage in stages:
        stage.sampler.num = 8
    model.test_cfg.rcnn.update(max_per_img=3, score_thr=0.0)


def pictures(size) -> list[torch.Tensor]:
    return [torch.randint(0, 255, (3, *size), dtype=torch.uint8) for _ in range(2)]


def detection_batch(size=(96, 128)) -> dict:
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    samples = []
    for number in range(2):
        shapes = dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'), size)
        sample = DetDataSample(metainfo=dict(**shapes, scale_factor=(1.0, 1.0), img_id=number))
        boxes = torch.tensor([[8.0, 10.0, 60.0, 70.0], [40.0, 20.0, 110.0, 90.0]])
        masks = np.zeros((2, *size), np.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist()):
            mask[y1:y2, x1:x2] = 1
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([0, 3]), masks=BitmapMasks(masks, *size))
        samples.append(sample)
    return dict(inputs=pictures(size), data_samples=samples)


def with_masks(cfg: Config) -> bool:
    """Whether a detector finds masks."""
    evaluators = cfg.val_evaluator if isinstance(cfg.val_evaluator, list) else [cfg.val_evaluator]
    return any('segm' in one.get('metric', ()) for one in evaluators)


def detection_batch_for(cfg: Config, size=(96, 128)) -> dict:
    """A batch with the labels that a detector learns from, as its pipeline would load them, and no others."""
    batch = detection_batch(size)
    for sample in batch['data_samples']:
        if not with_masks(cfg):
            del sample.gt_instances.masks
        if cfg.model.get('panoptic_head', {}).get('num_stuff_classes'):
            sample.gt_sem_seg = PixelData(sem_seg=torch.full((1, *size), 90))
    return batch


def segmentation_batch(size=(128, 128)) -> dict:
    from mmseg.structures import SegDataSample

    samples = []
    for _ in range(2):
        sample = SegDataSample(metainfo=dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape'), size))
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 9, (1, *size)))
        samples.append(sample)
    return dict(inputs=pictures(size), data_samples=samples)


def train_and_predict(cfg: Config, batch: dict, steps: int = 1) -> list:
    """Steps of the config's optimizer, all parameters in it, the backbone's moved; predictions of the same images."""
    model = build(cfg).train()
    options = {key: value for key, value in cfg.optim_wrapper.items() if key not in ('type', 'dtype')}
    wrapper = build_optim_wrapper(model, copy.deepcopy(options))  # mixed precision wants an accelerator
    held = {id(p) for group in wrapper.optimizer.param_groups for p in group['params']}
    assert held == {id(p) for p in model.parameters() if p.requires_grad}
    before = [p.clone() for p in model.backbone.parameters()]
    for _ in range(steps):
        losses = model.train_step(copy.deepcopy(batch), wrapper)
        assert losses['loss'].isfinite()
    assert not all(torch.equal(p, q) for p, q in zip(model.backbone.parameters(), before))
    with torch.no_grad():
        return model.eval().val_step(copy.deepcopy(batch))


@pytest.mark.parametrize('name', DETECTORS)
def test_detector_trains_and_predicts_with_a_micro_backbone(name):
    torch.manual_seed(0)
    steps = 1 if name.startswith('mask_rcnn') else 2
    cfg = shrink(load(name))
    for result in train_and_predict(cfg, detection_batch_for(cfg), steps):
        found = result.pred_instances
        assert len(found)
        assert found.bboxes.min() >= 0
        assert (found.bboxes <= torch.tensor([128, 96, 128, 96])).all()  # the image's own frame, however it is padded
        assert not with_masks(cfg) or found.masks.shape[1:] == (96, 128)


@pytest.mark.parametrize('name', SEGMENTORS)
def test_segmentor_trains_and_predicts_with_a_micro_backbone(name):
    results = train_and_predict(shrink(load(name)), segmentation_batch())
    assert [tuple(result.pred_sem_seg.data.shape) for result in results] == [(1, 128, 128)] * 2
