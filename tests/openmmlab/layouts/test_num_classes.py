"""Every place where a head of the zoo counts classes follows the data."""

import importlib
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmvssm import configs
from mmvssm.openmmlab.layouts.layout import set_num_classes
from mmvssm.openmmlab.preflight.places import nodes

MMSEG = (
    'upernet_r50', 'ocrnet_r50-d8', 'pointrend_r50', 'fcn_hr18', 'pspnet_r50-d8', 'deeplabv3plus_r50-d8',
    'segformer_mit-b0', 'setr_pup', 'encnet_r50-d8', 'dnl_r50-d8', 'danet_r50-d8', 'fpn_r50', 'segmenter_vit-b16_mask',
)  # fmt: skip
CASES = {
    **{f'mmseg {name}': ('mmseg', f'_base_/models/{name}.py') for name in MMSEG},
    'mmseg K-Net': ('mmseg', 'knet/knet-s3_r50-d8_upernet_8xb2-adamw-80k_ade20k-512x512.py'),
    'mmseg Mask2Former': ('mmseg', 'mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py'),
    'mmseg MaskFormer': ('mmseg', 'maskformer/maskformer_r50-d32_8xb2-160k_ade20k-512x512.py'),
    'mmdet Cascade': ('mmdet', '_base_/models/cascade-mask-rcnn_r50_fpn.py'),
    'mmdet RetinaNet': ('mmdet', '_base_/models/retinanet_r50_fpn.py'),
    'mmdet Mask2Former': ('mmdet', 'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py'),
    'mmdet MaskFormer': ('mmdet', 'maskformer/maskformer_r50_ms-16xb1-75e_coco.py'),
    'mmdet Panoptic FPN': ('mmdet', 'panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py'),
    'mmdet DETR': ('mmdet', 'detr/detr_r50_8xb2-150e_coco.py'),
    'mmdet DINO': ('mmdet', 'dino/dino-4scale_r50_8xb2-12e_coco.py'),
    'mmdet RTMDet-Ins': ('mmdet', 'rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py'),
    'mmdet SOLOv2': ('mmdet', 'solov2/solov2_r50_fpn_1x_coco.py'),
    'mmdet QueryInst': ('mmdet', 'queryinst/queryinst_r50_fpn_1x_coco.py'),
    'mmdet Mask Scoring': ('mmdet', 'ms_rcnn/ms-rcnn_r50-caffe_fpn_1x_coco.py'),
    'mmdet PointRend': ('mmdet', 'point_rend/point-rend_r50-caffe_fpn_ms-1x_coco.py'),
}


def model(package: str, path: str) -> tuple[str, dict]:
    folder = Path(importlib.import_module(package).__file__).parent / '.mim/configs'
    return package, Config.fromfile(folder / path).model


@pytest.mark.parametrize('case', CASES)
def test_every_count_is_3_and_every_list_of_weights_fits(case):
    _, cfg = model(*CASES[case])
    set_num_classes(cfg, 3)
    heads = [(path, node) for path, node in nodes(cfg) if not path.startswith('backbone')]
    counts = {path: node[key] for path, node in heads for key in ('num_classes', 'num_things_classes') if key in node}
    assert counts
    assert set(counts.values()) == {3}
    assert {node['num_stuff_classes'] for _, node in heads if 'num_stuff_classes' in node} <= {0}
    weights = [node['class_weight'] for _, node in heads if isinstance(node.get('class_weight'), list | tuple)]
    assert all(len(one) in (3, 4) for one in weights)


def test_mask2formers_weight_of_no_object_stays():
    _, cfg = model(*CASES['mmseg Mask2Former'])
    set_num_classes(cfg, 3)
    assert list(cfg.decode_head.loss_cls.class_weight) == [1.0, 1.0, 1.0, 0.1]


@pytest.mark.parametrize(
    'name', ['mask_rcnn_vmamba_t', 'upernet_vmamba_t', 'cascade_mask_rcnn_vim_t', 'mask_rcnn_vil_t']
)
def test_own_configs_build_with_other_numbers(name):
    import torch

    cfg = Config.fromfile(configs.find(name))
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.init_cfg = None
    set_num_classes(cfg.model, 3)
    with torch.device('meta'):
        MODELS.build(cfg.model)
