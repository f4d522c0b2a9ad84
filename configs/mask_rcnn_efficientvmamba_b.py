"""Mask R-CNN 1x with EfficientVMamba-B, COCO, mixed precision as published (here bfloat16).
Published: 43.7 box AP, 40.2 mask AP (paper). No detector was released.

Of B only a 3x config was released: this is its model, with 4 images for each GPU, at the 1x schedule.
Drop path 0.2 is the paper's.
"""

_base_ = ['_base_/mask_rcnn_coco_1x.py']
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
