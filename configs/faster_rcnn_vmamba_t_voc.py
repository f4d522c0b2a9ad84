"""Faster R-CNN with VMamba-T[s1l8], Pascal VOC 2007 + 2012. Nothing was published: the recipe for COCO on other data.

The images pass three times an epoch, four epochs are twelve.
"""

_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/voc0712.py',
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
    roi_head=dict(bbox_head=dict(num_classes=20)),
)
train_cfg = dict(max_epochs=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=4, milestones=[3], gamma=0.1),
]
