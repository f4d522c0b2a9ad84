"""Mask R-CNN with VMamba-T[s1l8], instances of Cityscapes. Nothing was published: the recipe for COCO on other data.

The images pass eight times an epoch, eight epochs. Scores are COCO's; Cityscapes' own need its package, and the second
evaluator of mmdet's data set.
"""

_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/cityscapes_instance.py',
    '_base_/schedule_1x.py',
]
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.VMamba',
        arch='tiny_s1l8',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint='vmamba_tiny_s1l8.in1k'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
    roi_head=dict(bbox_head=dict(num_classes=8), mask_head=dict(num_classes=8)),
)
val_evaluator = dict(
    _delete_=True,
    type='CocoMetric',
    ann_file='data/cityscapes/annotations/instancesonly_filtered_gtFine_val.json',
    metric=['bbox', 'segm'],
)
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=8)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=8, milestones=[7], gamma=0.1),
]
