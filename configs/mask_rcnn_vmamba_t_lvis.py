"""Mask R-CNN with VMamba-T[s1l8], LVIS v1. Nothing was published: the recipe for COCO on other data.

Rare categories are repeated, and 300 objects an image kept, as LVIS has it. It needs the package lvis.
"""

_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/lvis_v1_instance.py',
    '_base_/schedule_1x.py',
]
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.VMamba',
        arch='tiny_s1l8',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint='vmamba_tiny_s1l8.in1k'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
    roi_head=dict(bbox_head=dict(num_classes=1203), mask_head=dict(num_classes=1203)),
    test_cfg=dict(rcnn=dict(score_thr=1e-4, max_per_img=300)),
)
