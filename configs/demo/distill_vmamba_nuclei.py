"""The small VMamba of mask_rcnn_vmamba_nuclei.py learns the maps of the demo's LocalVMamba, once `mmvssm demo` has
trained it, on crops of the same images, without their labels.
"""

_base_ = ['../_base_/distill_20k.py']
data_root = 'data/nuclei/images/'
directions = [
    ['h', 'v', 'h_flip', 'v_flip'],
    ['h', 'v_flip', 'w2', 'w2_flip'],
    ['h_flip', 'v', 'w2', 'w7_flip'],
    ['h', 'v_flip', 'w7', 'w7_flip'],
    ['h', 'h_flip', 'v', 'v_flip'],
]
small = dict(depths=(1, 1, 2, 1), dims=(24, 48, 96, 192), ssm_ratio=1.0)
model = dict(
    backbone=dict(type='mmvssm.VMamba', **small),
    teacher=dict(
        model_name='localvmamba_tiny',
        **small,
        d_state=1,
        out_norms=True,
        directions=directions,
        pretrained=True,
        pretrained_cfg_overlay=dict(file='work_dirs/mask_rcnn_localvmamba_nuclei/epoch_4.pth'),
    ),
    pairs=[(0, 0), (1, 1), (2, 2), (3, 3)],
)
train_dataloader = dict(batch_size=16, num_workers=1, dataset=dict(root=data_root + 'training', size=128, scale=0.1))
val_dataloader = dict(batch_size=4, num_workers=1, dataset=dict(root=data_root + 'validation', size=256, crop=1.0))
test_dataloader = val_dataloader
iterations = 240
train_cfg = dict(max_iters=iterations, val_interval=iterations)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=False, begin=20, end=iterations),
]
optim_wrapper = dict(optimizer=dict(lr=2e-3))
randomness = dict(seed=0)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=iterations))
