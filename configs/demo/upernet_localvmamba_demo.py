"""A small UperNet with a small LocalVMamba on the embedded data set, from scratch, in minutes on two CPU cores."""

_base_ = ['../_base_/upernet_ade20k_160k.py']
data_root = 'data/shapes'
classes = ('background', 'disc', 'triangle', 'star', 'ring')
crop_size = (128, 128)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        type='mmvssm.LocalVMamba',
        depths=(1, 1, 2, 1),
        dims=(24, 48, 96, 192),
        d_state=1,
        ssm_ratio=1.0,
        directions=[
            ['h', 'v', 'h_flip', 'v_flip'],
            ['h', 'v_flip', 'w2', 'w2_flip'],
            ['h_flip', 'v', 'w2', 'w7_flip'],
            ['h', 'v_flip', 'w7', 'w7_flip'],
            ['h', 'h_flip', 'v', 'v_flip'],
        ],
        out_indices=(0, 1, 2, 3),
    ),
    decode_head=dict(in_channels=[24, 48, 96, 192], channels=48, num_classes=5),
    auxiliary_head=dict(in_channels=96, channels=32, num_classes=5),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(128, 128), ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.95),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(128, 128), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
tta_pipeline = None  # made out of the test pipeline
dataset = dict(type='BaseSegDataset', data_root=data_root, metainfo=dict(classes=classes), reduce_zero_label=True)
train_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(pipeline=train_pipeline, **dataset))
val_dataloader = dict(batch_size=1, num_workers=1, dataset=dict(pipeline=test_pipeline, **dataset))
test_dataloader = val_dataloader

iters = 600
train_cfg = dict(max_iters=iters, val_interval=iters)
optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=10))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', eta_min=1e-5, power=0.9, by_epoch=False, begin=50, end=iters),
]
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=iters, max_keep_ckpts=1))
custom_hooks = [dict(type='mmvssm.NaNWatchHook'), dict(type='mmvssm.ContactSheetHook')]
