"""Mask R-CNN 1x with VMamba-B[s2l15], COCO. Published: 49.2 box AP, 44.1 mask AP
(release tag `#v2det`, mask_rcnn_vssm_fpn_coco_base_epoch_11.pth). float32 and the best epoch kept, as published.
The same at a total batch of 8: 49.2 box AP, 43.9 mask AP (mask_rcnn_vssm_fpn_coco_base_epoch_12_bs8.pth).
"""

_base_ = ['_base_/mask_rcnn_coco_1x.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.VMamba',
        arch='base_s2l15',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.6,
        init_cfg=dict(type='Pretrained', checkpoint='vmamba_base_s2l15.in1k'),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
default_hooks = dict(checkpoint=dict(save_best='coco/bbox_mAP'))
