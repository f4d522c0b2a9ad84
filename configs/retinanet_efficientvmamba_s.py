"""RetinaNet 1x with EfficientVMamba-S, COCO. Published: 39.1 box AP (paper). No config and no detector was released.

The recipe of retinanet_efficientvmamba_t.py. The standard head makes 21.0 M parameters where 19 M are published.
"""

_base_ = ['./retinanet_efficientvmamba_t.py']
pretrained = 'https://huggingface.co/TerryPei/EfficientVMamba-Small/resolve/main/efficient_vmamba_small.ckpt'
model = dict(
    backbone=dict(arch='small', init_cfg=dict(type='Pretrained', checkpoint=pretrained)),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
