"""Mask R-CNN, ViTDet style, with LocalVim-T, COCO. No detector was released and no figure could be confirmed.

The released config, except that RMSNorm blocks keep the meaning of the pre-trained weights (it builds LayerNorm).
Its layer decay of 0.7 knew other names than LocalVim's: in effect only the stem was slowed, to 0.7^13, as here.
"""

_base_ = ['_base_/mask_rcnn_vitdet.py']
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
