"""Mask R-CNN 3x multi-scale with EfficientVMamba-B, COCO, mixed precision as published (here bfloat16).
Published: 45.0 box AP, 40.8 mask AP (paper). No detector was released.

The released config (4 GPUs x 4 images), except that unknown fields are gone.
Drop path 0.2 is the paper's, and what the released configs inherit from Swin's.
"""

_base_ = ['_base_/mask_rcnn_coco_3x.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.EfficientVMamba',
        arch='base',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint='efficientvmamba_base.in1k'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
optim_wrapper = dict(type='AmpOptimWrapper', dtype='bfloat16')
train_dataloader = dict(batch_size=4)
