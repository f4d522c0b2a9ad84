"""UperNet with VMamba-T[s1l8], ADE20K. Published: 47.9 mIoU, 48.8 multi-scale
(release tag `#v2seg`, upernet_vssm_4xb4-160k_ade20k-512x512_tiny_s_iter_160000.pth).
float32 and the best evaluation kept, as published.
"""

_base_ = ['_base_/upernet_ade20k_160k.py']
model = dict(
    backbone=dict(
        type='mmvssm.VMamba',
        arch='tiny_s1l8',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint='vmamba_tiny_s1l8.in1k'),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
default_hooks = dict(checkpoint=dict(save_best='mIoU'))
