"""SegFormer's head (arXiv 2105.15203): each of four maps projected, all joined at the finest.

A config adds the backbone, `decode_head.in_channels`, the widths of its maps, and the head's tenfold learning rate.
"""

_base_ = ['./segmentor.py']
model = dict(
    decode_head=dict(
        type='SegformerHead',
        in_index=[0, 1, 2, 3],
        channels=256,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
)
