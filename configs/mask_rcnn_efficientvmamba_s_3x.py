"""Mask R-CNN 3x multi-scale with EfficientVMamba-S, COCO, mixed precision as published (here bfloat16).
Published: 41.6 box AP, 38.2 mask AP (paper). No detector was released.

The only released 3x config is B's: this is its schedule on the model of mask_rcnn_efficientvmamba_s.py.
Drop path 0.2 is the paper's.
"""

_base_ = ['_base_/mask_rcnn_coco_3x.py']
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
