"""Mask R-CNN 3x multi-scale with LocalVMamba-T, COCO, mixed precision as published (here bfloat16).
Published: 48.7 box AP, 43.4 mask AP (paper). No ImageNet weights of it were released, so this starts from
scratch unless `model.backbone.pretrained` is given.
"""

_base_ = ['_base_/mask_rcnn_coco_3x.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.LocalVMamba',
        arch='tiny',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
optim_wrapper = dict(type='AmpOptimWrapper', dtype='bfloat16')
