"""UperNet with Vim-T, ADE20K, 60k iterations of 32 images. Published: 41.0 mIoU (quoted, unverified). No segmentor
was released. The maps are the blocks' outputs without their residuals, as published.
The published layer-wise decay of 0.92 knew other names than Vim's: in effect only the stem was slowed, to 0.92^25, as
here. The published weights were older ones without a class token, which were not released.
"""

_base_ = ['_base_/upernet_ade20k_160k.py']
model = dict(
    backbone=dict(
        type='mmvssm.Vim',
        arch='tiny',
        img_size=512,
        features='mixer',
        out_indices=(5, 11, 17, 23),
        out_norms=False,
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='vim_tiny.in1k'),
    ),
    neck=dict(type='mmvssm.RescalePyramid', in_channels=192, norm_cfg=dict(type='SyncBN')),
    decode_head=dict(in_channels=[192, 192, 192, 192], channels=192),
    auxiliary_head=dict(in_channels=192),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
)
stem_rate = 0.92**25
optim_wrapper = dict(
    optimizer=dict(lr=2e-4, weight_decay=0.1),
    paramwise_cfg=dict(
        _delete_=True,
        bias_decay_mult=0.0,
        norm_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={
            'backbone.patch_embed.proj.weight': dict(lr_mult=stem_rate),
            'backbone.patch_embed.proj.bias': dict(lr_mult=stem_rate, decay_mult=0.0),
            'backbone.pos_embed': dict(lr_mult=stem_rate),
        },
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', eta_min=0.0, power=1.0, by_epoch=False, begin=1500, end=60000),
]
train_dataloader = dict(batch_size=8)
train_cfg = dict(max_iters=60000, val_interval=1000)
default_hooks = dict(checkpoint=dict(save_best='mIoU'))
auto_scale_lr = dict(base_batch_size=32)
