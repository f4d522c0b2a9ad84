"""UperNet with LocalVMamba-S, ADE20K, mixed precision as published (here bfloat16).
Published: 50.0 mIoU, 51.0 multi-scale (paper). No segmentor was released.

Starts from the published ImageNet weights (83.7 top-1).
"""

_base_ = ['_base_/upernet_ade20k_160k.py']
model = dict(
    backbone=dict(
        type='mmvssm.LocalVMamba',
        arch='small',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint='localvmamba_small.in1k'),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
optim_wrapper = dict(type='AmpOptimWrapper', dtype='bfloat16')
