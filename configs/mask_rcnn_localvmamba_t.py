"""Mask R-CNN 1x with LocalVMamba-T, COCO, mixed precision as published (here bfloat16).
Published: 46.7 box AP, 42.2 mask AP (paper). No detector was released.

No ImageNet weights of LocalVMamba-T were ever released (the file that the published configs name never
appeared), so this starts from scratch; give your own with
`--cfg-options model.backbone.pretrained=PATH`.
"""

_base_ = ['_base_/mask_rcnn_coco_1x.py']
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
