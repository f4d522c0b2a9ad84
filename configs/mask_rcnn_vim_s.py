"""Mask R-CNN, ViTDet style, with Vim-S, COCO. No detector of Vim-S was published; this is the recipe of
mask_rcnn_vim_t.py.
"""

_base_ = ['./mask_rcnn_vim_t.py']
pretrained = 'https://huggingface.co/hustvl/Vim-small-midclstok/resolve/main/vim_s_midclstok_80p5acc.pth'
model = dict(
    backbone=dict(arch='small', init_cfg=dict(type='Pretrained', checkpoint=pretrained)),
    neck=dict(in_channels=384),
)
