"""Feature distillation: 20,000 iterations of AdamW, 64 crops each, on images without labels; COCO's by default."""

_base_ = ['./runtime.py']
default_scope = 'mmengine'
data_root = 'data/coco/'
model = dict(type='mmvssm.Distiller')
loader = dict(num_workers=8, persistent_workers=True, batch_size=64, collate_fn=dict(type='default_collate'))
train_dataloader = dict(
    **loader,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(type='mmvssm.UnlabelledImages', root=data_root + 'train2017', training=True, held_out=0.0),
)
val_dataloader = dict(
    **loader,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='mmvssm.UnlabelledImages', root=data_root + 'val2017', held_out=0.0),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='mmvssm.MeanCosine')
test_evaluator = val_evaluator
iterations, warmup = 20000, 500
train_cfg = dict(type='IterBasedTrainLoop', max_iters=iterations, val_interval=2000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=warmup),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=False, begin=warmup, end=iterations),
]
auto_scale_lr = dict(base_batch_size=64)
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='mmvssm.AtomicCheckpointHook', by_epoch=False, interval=2000, max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
log_processor = dict(by_epoch=False)
