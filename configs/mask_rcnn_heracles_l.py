"""Mask R-CNN 1x with Heracles-C-L, COCO. No recipe, weights or detector were released.

The recipe of mask_rcnn_heracles_s.py with the authors' drop path of this size.
"""

_base_ = ['./mask_rcnn_heracles_s.py']
model = dict(backbone=dict(arch='large', drop_path_rate=0.3), neck=dict(in_channels=[96, 192, 384, 512]))
