"""Mask R-CNN 3x multi-scale with Vanilla-VMamba-S, COCO. Published: 49.7 box AP, 44.0 mask AP
(release tag `#v0det`, vssmsmall_mask_rcnn_swin_fpn_coco_ms_3x_epoch_34.pth).
float32 and the best epoch kept, as published. Drop path 0.2 is what the authors' config inherits from Swin's.
"""

_base_ = ['./mask_rcnn_vmambav0_t_3x.py']
model = dict(backbone=dict(arch='vmambav0_small', init_cfg=dict(type='Pretrained', checkpoint='vmambav0_small.in1k')))
