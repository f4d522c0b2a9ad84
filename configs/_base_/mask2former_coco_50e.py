"""Mask2Former on COCO, instances, 50 epochs of large-scale jitter, batch 16: mmdet's recipe for Swin.

There is no neck: `panoptic_head.in_channels` has the widths of the backbone's four maps. The backbone learns at a tenth
of the rate, and norms do not decay.
"""

_base_ = ['mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py', './runtime.py']
images = dict(_delete_=True, img='val2017/')  # mmdet's config inherits a place of panoptic labels
train_dataloader = dict(dataset=dict(data_prefix=dict(images, img='train2017/')))
val_dataloader = dict(dataset=dict(data_prefix=images))
test_dataloader = val_dataloader
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=368750, milestones=[327778, 355092], gamma=0.1)
]
default_hooks = dict(checkpoint=dict(type='mmvssm.AtomicCheckpointHook'), logger=dict(log_metric_by_epoch=False))
