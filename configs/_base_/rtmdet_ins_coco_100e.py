"""RTMDet-Ins (the size L) on COCO: masks by dynamic convolutions, on rtmdet_coco_100e.py's schedule.

Data and head are mmdet's for RTMDet-Ins, with GroupNorm for SyncBN; the rest is what _base_/rtmdet_coco_100e.py says.
"""

_base_ = ['mmdet::rtmdet/rtmdet-ins_l_8xb32-300e_coco.py']
custom_imports = dict(imports=['mmvssm.openmmlab'], allow_failed_imports=False)
norm_cfg = dict(type='GN', num_groups=32)
model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True, pad_size_divisor=32
    ),
    neck=dict(norm_cfg=dict(_delete_=True, **norm_cfg)),
    bbox_head=dict(norm_cfg=dict(_delete_=True, **norm_cfg)),
)
epochs, plain_epochs, lr = 100, 10, 1e-3
train_cfg = dict(max_epochs=epochs, dynamic_intervals=[(epochs - plain_epochs, 1)])
optim_wrapper = dict(optimizer=dict(lr=lr))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-5, by_epoch=False, begin=0, end=1000),
    dict(
        type='CosineAnnealingLR',
        eta_min=0.05 * lr,
        begin=epochs // 2,
        end=epochs,
        T_max=epochs // 2,
        convert_to_iter_based=True,
    ),
]
custom_hooks = [
    _base_.custom_hooks[0],
    dict(_base_.custom_hooks[1], switch_epoch=epochs - plain_epochs),
    dict(type='mmvssm.NaNWatchHook'),
]
default_hooks = dict(checkpoint=dict(type='mmvssm.AtomicCheckpointHook'))
