"""Mask R-CNN 3x multi-scale with Vanilla-VMamba-T, COCO. Published: 48.5 box AP, 43.2 mask AP
(release tag `#v0det`, vssmtiny_mask_rcnn_swin_fpn_coco_ms_3x_epoch_34.pth).
float32 and the best epoch kept, as published. Drop path 0.2 is what the authors' config inherits from Swin's.
"""

_base_ = ['_base_/mask_rcnn_coco_3x.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.VMamba',
        arch='vmambav0_tiny',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint='vmambav0_tiny.in1k'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
default_hooks = dict(checkpoint=dict(save_best='coco/bbox_mAP'))
