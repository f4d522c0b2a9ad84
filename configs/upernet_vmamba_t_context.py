"""UperNet with VMamba-T[s1l8], Pascal Context. Nothing was published: the recipe for ADE20K on other data."""

_base_ = ['_base_/upernet.py', '_base_/pascal_context.py', '_base_/schedule_160k.py', '_base_/runtime.py']
model = dict(
    backbone=dict(
        type='mmvssm.VMamba',
        arch='tiny_s1l8',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint='vmamba_tiny_s1l8.in1k'),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768], num_classes=59),
    auxiliary_head=dict(in_channels=384, num_classes=59),
)
