"""Mask R-CNN 1x with VMamba-S[s2l15], COCO. Published: 48.7 box AP, 43.7 mask AP
(release tag `#v2det`, mask_rcnn_vssm_fpn_coco_small_epoch_11.pth). float32 and the best epoch kept, as published.
"""

_base_ = ['_base_/mask_rcnn_coco_1x.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.VMamba',
        arch='small_s2l15',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.3,
        init_cfg=dict(type='Pretrained', checkpoint='vmamba_small_s2l15.in1k'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
default_hooks = dict(checkpoint=dict(save_best='coco/bbox_mAP'))
