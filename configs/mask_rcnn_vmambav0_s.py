"""Mask R-CNN 1x with Vanilla-VMamba-S, COCO. Published: 48.2 box AP, 43.0 mask AP
(release tag `#v0det`, vssmsmall_mask_rcnn_swin_fpn_coco_epoch_12.pth). float32 and the best epoch kept, as published.
Drop path 0.2 is what the authors' config inherits from Swin's.
"""

_base_ = ['./mask_rcnn_vmambav0_t.py']
model = dict(backbone=dict(arch='vmambav0_small', init_cfg=dict(type='Pretrained', checkpoint='vmambav0_small.in1k')))
