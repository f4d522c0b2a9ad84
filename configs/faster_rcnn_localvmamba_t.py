"""Faster R-CNN 1x with LocalVMamba-T, COCO. No such detector was published: mask_rcnn_localvmamba_t.py without masks.

It starts from scratch, as no ImageNet weights of LocalVMamba-T were ever released; mixed precision is bfloat16.
"""

_base_ = ['_base_/faster_rcnn_coco_1x.py']
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
