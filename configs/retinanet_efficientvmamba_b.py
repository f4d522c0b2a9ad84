"""RetinaNet 1x with EfficientVMamba-B, COCO. Published: 42.8 box AP (paper). No config and no detector was released.

The recipe of retinanet_efficientvmamba_t.py. The standard head makes the published 44 M parameters.
"""

_base_ = ['./retinanet_efficientvmamba_t.py']
model = dict(
    backbone=dict(arch='base', init_cfg=dict(type='Pretrained', checkpoint='efficientvmamba_base.in1k')),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
