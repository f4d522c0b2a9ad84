"""Mask R-CNN 1x with Vanilla-VMamba-T, COCO. Published: 46.5 box AP, 42.1 mask AP
(release tag `#v0det`, vssmtiny_mask_rcnn_swin_fpn_coco_epoch_12.pth). float32 and the best epoch kept, as published.
Drop path 0.2 is what the authors' config inherits from Swin's.
"""

_base_ = ['_base_/mask_rcnn_coco_1x.py']
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
