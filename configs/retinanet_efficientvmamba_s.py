"""RetinaNet 1x with EfficientVMamba-S, COCO. Published: 39.1 box AP (paper). No config and no detector was released.

The recipe of retinanet_efficientvmamba_t.py. The standard head makes 21.0 M parameters where 19 M are published.
"""

_base_ = ['./retinanet_efficientvmamba_t.py']
model = dict(
    backbone=dict(arch='small', init_cfg=dict(type='Pretrained', checkpoint='efficientvmamba_small.in1k')),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
