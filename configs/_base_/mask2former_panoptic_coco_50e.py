"""Mask2Former on COCO, panoptic segmentation, 50 epochs of large-scale jitter, batch 16: mmdet's recipe for Swin.

There is no neck: `panoptic_head.in_channels` has the widths of the backbone's four maps. The backbone learns at a tenth
of the rate, and norms do not decay.
"""

_base_ = ['mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py', './runtime.py']
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=368750, milestones=[327778, 355092], gamma=0.1)
]
default_hooks = dict(checkpoint=dict(type='mmvssm.AtomicCheckpointHook'), logger=dict(log_metric_by_epoch=False))
