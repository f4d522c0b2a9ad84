"""SETR with Vim-T, ADE20K.

No such segmentor was published; the head is that of _base_/setr.py, the schedule that of UperNet.
"""

_base_ = ['_base_/setr.py', '_base_/ade20k.py', '_base_/schedule_160k.py', '_base_/runtime.py']
model = dict(
    backbone=dict(
        type='mmvssm.Vim',
        arch='tiny',
        img_size=512,
        out_indices=(5, 11, 17, 23),
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='vim_tiny.in1k'),
    ),
    decode_head=dict(in_channels=192),
    auxiliary_head=[
        dict(
            type='SETRUPHead',
            in_index=index,
            in_channels=192,
            channels=256,
            num_convs=2,
            up_scale=4,
            kernel_size=3,
            dropout_ratio=0,
            num_classes=150,
            norm_cfg=dict(type='SyncBN', requires_grad=True),
            align_corners=False,
            loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4),
        )
        for index in range(3)
    ],
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
)
no_decay = dict(decay_mult=0.0)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(pos_embed=no_decay, cls_token=no_decay)))
