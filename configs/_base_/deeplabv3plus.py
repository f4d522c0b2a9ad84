"""DeepLabV3+ (arXiv 1802.02611): the last map, of stride 16, by convolutions of four dilations, and the first map.

A config adds the backbone with `output_stride=16`, `in_channels` of both heads, the widths of the last and the third
map, and `decode_head.c1_in_channels`, that of the first.
"""

_base_ = ['./pspnet.py']
model = dict(
    decode_head=dict(
        _delete_=True,
        type='DepthwiseSeparableASPPHead',
        in_index=3,
        channels=512,
        dilations=(1, 6, 12, 18),
        c1_channels=48,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
)
