"""ImageNet-1K from scratch as LocalMamba has it: 300 epochs, 8 GPUs x 128 images, timm's augmentation."""

_base_ = ['./runtime.py']
default_scope = 'mmengine'
data_root = 'data/imagenet/'
model = dict(type='mmvssm.ImageClassifier', num_classes=1000, label_smoothing=0.1, mixup=0.2, cutmix=1.0)
loader = dict(num_workers=8, persistent_workers=True, collate_fn=dict(type='default_collate'))
train_dataloader = dict(
    **loader,
    batch_size=128,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='mmvssm.ImageFolder',
        root=data_root + 'train',
        training=True,
        auto_augment='rand-m9-mstd0.5',
        random_erasing=0.25,
    ),
)
val_dataloader = dict(
    **loader,
    batch_size=128,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='mmvssm.ImageFolder', root=data_root + 'val'),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='mmvssm.TopAccuracy')
test_evaluator = val_evaluator
epochs, warmup = 300, 20
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=0.04),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, by_epoch=True, begin=0, end=warmup),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=warmup, end=epochs, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=1024)
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='mmvssm.AtomicCheckpointHook', interval=1, max_keep_ckpts=3, save_best='accuracy/top1'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
