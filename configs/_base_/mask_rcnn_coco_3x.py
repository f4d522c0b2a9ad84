"""Mask R-CNN with FPN on COCO, 36 epochs with multi-scale crops: mmdet's recipe for Swin, which these papers follow.

The backbone is replaced (`_delete_=True`) by the config that inherits this.
"""

_base_ = ['mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_ms-crop-3x_coco.py', './coco_tta.py', './runtime.py']
default_hooks = dict(checkpoint=dict(type='mmvssm.AtomicCheckpointHook'))
