"""SETR, progressive upsampling (arXiv 2012.15840): for plain backbones, from the last of four maps of stride 16.

A config adds the backbone, `decode_head.in_channels`, and the three heads that learn from the maps before: lists are
not joined with those of a base.
"""

_base_ = ['./segmentor.py']
model = dict(
    decode_head=dict(
        type='SETRUPHead',
        in_index=3,
        channels=256,
        num_convs=4,
        up_scale=2,
        kernel_size=3,
        dropout_ratio=0,
        num_classes=150,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
)
