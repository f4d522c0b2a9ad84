"""UperNet with VMamba-B[s2l15], ADE20K. Published: 51.0 mIoU, 51.6 multi-scale
(release tag `#v2seg`, upernet_vssm_4xb4-160k_ade20k-512x512_base_iter_160000.pth).
float32 and the best evaluation kept, as published.
"""

_base_ = ['_base_/upernet_ade20k_160k.py']
model = dict(
    backbone=dict(
        type='mmvssm.VMamba',
        arch='base_s2l15',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.6,
        init_cfg=dict(type='Pretrained', checkpoint='vmamba_base_s2l15.in1k'),
    ),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
default_hooks = dict(checkpoint=dict(save_best='mIoU'))
