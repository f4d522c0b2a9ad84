"""Semantic FPN with EfficientVMamba-T, ADE20K.

No such segmentor was published; the head is that of _base_/semantic_fpn.py, the schedule that of UperNet.
"""

_base_ = ['_base_/semantic_fpn.py', '_base_/ade20k.py', '_base_/schedule_160k.py', '_base_/runtime.py']
model = dict(
    backbone=dict(
        type='mmvssm.EfficientVMamba',
        arch='tiny',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='efficientvmamba_tiny.in1k'),
    ),
    neck=dict(in_channels=[48, 96, 192, 384]),
)
