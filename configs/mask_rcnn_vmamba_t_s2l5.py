"""Mask R-CNN 1x with VMamba-T[s2l5], COCO. Published: 47.4 box AP, 42.7 mask AP
(release tag `#v2det`, mask_rcnn_vssm_fpn_coco_tiny_epoch_12.pth). The recipe of mask_rcnn_vmamba_t.py.
"""

_base_ = ['./mask_rcnn_vmamba_t.py']
model = dict(backbone=dict(arch='tiny_s2l5', init_cfg=dict(type='Pretrained', checkpoint='vmamba_tiny_s2l5.in1k')))
