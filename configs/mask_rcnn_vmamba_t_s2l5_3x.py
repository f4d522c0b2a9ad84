"""Mask R-CNN 3x multi-scale with VMamba-T[s2l5], COCO. Published: 48.9 box AP, 43.7 mask AP
(release tag `#v2det`, mask_rcnn_vssm_fpn_coco_tiny_ms_3x_epoch_36.pth). The recipe of mask_rcnn_vmamba_t_3x.py.
"""

_base_ = ['./mask_rcnn_vmamba_t_3x.py']
model = dict(backbone=dict(arch='tiny_s2l5', init_cfg=dict(type='Pretrained', checkpoint='vmamba_tiny_s2l5.in1k')))
