"""Mask R-CNN 1x with Vanilla-VMamba-B, COCO. Published: 48.6 box AP, 43.3 mask AP
(release tag `#v0det`, vssmbase_mask_rcnn_swin_fpn_coco_epoch_12.pth).
float32 and the best epoch kept, as published. Drop path 0.2 is what the authors' config inherits from Swin's.
It starts from the weights of drop path 0.5 (83.2 top-1), not from the best.
The authors' 16 GPUs x 1 image are 8 x 2 here.
"""

_base_ = ['./mask_rcnn_vmambav0_t.py']
model = dict(
    backbone=dict(arch='vmambav0_base', init_cfg=dict(type='Pretrained', checkpoint='vmambav0_base.dp05_in1k')),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
