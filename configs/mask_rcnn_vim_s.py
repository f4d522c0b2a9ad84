"""Mask R-CNN, ViTDet style, with Vim-S, COCO. No detector of Vim-S was published; this is the recipe of
mask_rcnn_vim_t.py.
"""

_base_ = ['./mask_rcnn_vim_t.py']
model = dict(
    backbone=dict(arch='small', init_cfg=dict(type='Pretrained', checkpoint='vim_small.in1k')),
    neck=dict(in_channels=384),
)
