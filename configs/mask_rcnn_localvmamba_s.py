"""Mask R-CNN 1x with LocalVMamba-S, COCO, mixed precision as published (here bfloat16).
Published: 48.4 box AP, 43.2 mask AP (paper). No detector was released.

Starts from the published ImageNet weights (83.7 top-1).
"""

_base_ = ['_base_/mask_rcnn_coco_1x.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.LocalVMamba',
        arch='small',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint='localvmamba_small.in1k'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
optim_wrapper = dict(type='AmpOptimWrapper', dtype='bfloat16')
