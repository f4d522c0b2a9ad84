"""UperNet with Vanilla-VMamba-T, ADE20K. Published: 47.3 mIoU, 48.3 multi-scale
(release tag `#v0seg`, vssmtiny_upernet_4xb4-160k_ade20k-512x512_iter_160000.pth).
float32 and the best evaluation kept, as published. Drop path 0.3 is what the authors' config inherits from Swin's.
"""

_base_ = ['_base_/upernet_ade20k_160k.py']
model = dict(
    backbone=dict(
        type='mmvssm.VMamba',
        arch='vmambav0_tiny',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.3,
        init_cfg=dict(type='Pretrained', checkpoint='vmambav0_tiny.in1k'),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
default_hooks = dict(checkpoint=dict(save_best='mIoU'))
