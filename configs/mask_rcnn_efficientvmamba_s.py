"""Mask R-CNN 1x with EfficientVMamba-S, COCO, mixed precision as published (here bfloat16).
Published: 39.3 box AP, 36.7 mask AP (paper). No detector was released.

The released config says a width of 96, which fits neither the weights nor the published totals; the model is 64 wide.
Drop path 0.2 is the paper's, and what the released configs inherit from Swin's.
"""

_base_ = ['_base_/mask_rcnn_coco_1x.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.EfficientVMamba',
        arch='small',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint='efficientvmamba_small.in1k'),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
optim_wrapper = dict(type='AmpOptimWrapper', dtype='bfloat16')
