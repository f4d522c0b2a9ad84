"""Mask R-CNN with FPN on COCO, 12 epochs."""

_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    './schedule_1x.py',
    './coco_tta.py',
]
