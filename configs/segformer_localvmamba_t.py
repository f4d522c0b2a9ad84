"""SegFormer's head with LocalVMamba-T, ADE20K.

No such segmentor was published; the head is that of _base_/segformer.py, the schedule that of UperNet.
"""

_base_ = ['_base_/segformer.py', '_base_/ade20k.py', '_base_/schedule_160k.py', '_base_/runtime.py']
model = dict(
    backbone=dict(
        type='mmvssm.LocalVMamba',
        arch='tiny',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint='localvmamba_tiny.in1k'),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=10.0))))
