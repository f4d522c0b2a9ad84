"""Mask R-CNN 1x with VMamba-T[s1l8], COCO. Published: 47.3 box AP, 42.7 mask AP
(release tag `#v2det`, mask_rcnn_vssm_fpn_coco_tiny_s_epoch_12.pth). float32 and the best epoch kept, as published.
"""

_base_ = ['_base_/mask_rcnn_coco_1x.py']
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
)
default_hooks = dict(checkpoint=dict(save_best='coco/bbox_mAP'))
