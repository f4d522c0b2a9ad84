"""VMamba-T[s1l8] learns the last features of DINOv2's ViT-B/14, on images without labels, from its ImageNet weights.

The teacher's grid of 16 x 16 is brought to those of strides 16 and 32.
"""

_base_ = ['./_base_/distill_20k.py']
model = dict(
    backbone=dict(
        type='mmvssm.VMamba',
        arch='tiny_s1l8',
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint='vmamba_tiny_s1l8.in1k'),
    ),
    teacher=dict(model_name='vit_base_patch14_dinov2.lvd142m', pretrained=True, dynamic_img_size=True),
    pairs=[(2, -1), (3, -1)],
)
