"""Vim-T learns the last features of DINOv2's ViT-S/14, on images without labels, from its ImageNet weights."""

_base_ = ['./_base_/distill_20k.py']
model = dict(
    backbone=dict(
        type='mmvssm.Vim',
        arch='tiny',
        drop_path_rate=0.1,
        out_indices=(-1,),
        init_cfg=dict(type='Pretrained', checkpoint='vim_tiny.in1k'),
    ),
    teacher=dict(model_name='vit_small_patch14_dinov2.lvd142m', pretrained=True, dynamic_img_size=True),
)
