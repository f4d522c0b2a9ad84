"""Mask2Former, semantic, with VMamba-T[s1l8], ADE20K.

No such segmentor was published; the head is that of _base_/mask2former_semantic.py, the schedule that of UperNet.
"""

_base_ = ['_base_/mask2former_semantic.py', '_base_/ade20k.py', '_base_/schedule_160k.py', '_base_/runtime.py']
model = dict(
    backbone=dict(
        type='mmvssm.VMamba',
        arch='tiny_s1l8',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint='vmamba_tiny_s1l8.in1k'),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
)
no_decay = dict(decay_mult=0.0)
optim_wrapper = dict(
    optimizer=dict(lr=1e-4, weight_decay=0.05),
    clip_grad=dict(max_norm=0.01, norm_type=2),
    paramwise_cfg=dict(
        custom_keys={
            'backbone': dict(lr_mult=0.1),
            'backbone.norm': dict(lr_mult=0.1, decay_mult=0.0),
            'query_embed': no_decay,
            'query_feat': no_decay,
            'level_embed': no_decay,
        }
    ),
)
