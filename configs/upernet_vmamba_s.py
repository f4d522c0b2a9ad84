"""UperNet with VMamba-S[s2l15], ADE20K. Published: 50.6 mIoU, 51.2 multi-scale
(release tag `#v2seg`, upernet_vssm_4xb4-160k_ade20k-512x512_small_iter_144000.pth).
float32 and the best evaluation kept, as published.
"""

_base_ = ['_base_/upernet_ade20k_160k.py']
model = dict(
    backbone=dict(
        type='mmvssm.VMamba',
        arch='small_s2l15',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.3,
        init_cfg=dict(type='Pretrained', checkpoint='vmamba_small_s2l15.in1k'),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
default_hooks = dict(checkpoint=dict(save_best='mIoU'))
