"""Mask R-CNN on a simple feature pyramid, COCO, large-scale jitter to 1024 x 1024, 100 epochs of batch 64 (ViTDet).

What LocalVim's and Vim's detectors share. Images are padded to 1024 x 1024 with the value 114 in training and in tests;
gradients travel between GPUs in float32 (published: float16). `--auto-scale-lr` scales the rate to another batch.
"""

_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::common/lsj-100e_coco-instance.py',
    './coco_tta_1024.py',
    './runtime.py',
]
custom_imports = dict(imports=['mmvssm.openmmlab', 'mmvssm.openmmlab.preprocessing'], allow_failed_imports=False)
size = (1024, 1024)
norm_cfg = dict(type='mmvssm.ChannelNorm', eps=1e-6)
model = dict(
    data_preprocessor=dict(type='mmvssm.FixedSizeDataPreprocessor', size=size, fill=114, pad_size_divisor=1),
    neck=dict(_delete_=True, type='mmvssm.SimplePyramid', out_channels=256, num_outs=5),
    rpn_head=dict(num_convs=2),
    roi_head=dict(
        bbox_head=dict(type='Shared4Conv1FCBBoxHead', conv_out_channels=256, norm_cfg=norm_cfg),
        mask_head=dict(norm_cfg=norm_cfg),
    ),
)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(sampler=dict(type='InfiniteSampler'), dataset=dict(times=1))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=184375, val_interval=5000)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=250),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=184375, milestones=[163889, 177546], gamma=0.1),
]
default_hooks = dict(
    checkpoint=dict(type='mmvssm.AtomicCheckpointHook', by_epoch=False, interval=5000),
    logger=dict(log_metric_by_epoch=False),
)
log_processor = dict(by_epoch=False)
auto_scale_lr = dict(base_batch_size=64)
