"""Cascade Mask R-CNN, ViTDet style, with LocalVim-T, COCO. Nothing was published: this recipe is our own.

mask_rcnn_localvim_t.py with the heads of cascade_mask_rcnn_vim_t.py.
RMSNorm blocks and the slow stem are explained in mask_rcnn_localvim_t.py.
"""

_base_ = ['_base_/cascade_mask_rcnn_vitdet.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.LocalVim',
        arch='tiny',
        img_size=1024,
        out_indices=(19,),
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='localvim_tiny.in1k'),
    ),
    neck=dict(in_channels=192),
)
stem_rate = 0.7**13
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            'backbone.patch_embed': dict(lr_mult=stem_rate),
            'backbone.pos_embed': dict(lr_mult=stem_rate, decay_mult=0.0),
        }
    ),
    clip_grad=dict(max_norm=35),
)
