"""UperNet with LocalVim-T, ADE20K. Published: 43.4 mIoU, 44.4 multi-scale (paper). No segmentor was released.

Four maps of stride 16 and no neck, as published, but with RMSNorm blocks, which keep the meaning of the pre-trained
weights (the released config builds LayerNorm).
"""

_base_ = ['_base_/upernet_ade20k_160k.py']
model = dict(
    backbone=dict(
        type='mmvssm.LocalVim',
        arch='tiny',
        img_size=512,
        out_indices=(4, 9, 14, 19),
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='localvim_tiny.in1k'),
    ),
    decode_head=dict(in_channels=[192, 192, 192, 192]),
    auxiliary_head=dict(in_index=3, in_channels=192),
)
no_decay = dict(decay_mult=0.0)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(pos_embed=no_decay, cls_token=no_decay)))
