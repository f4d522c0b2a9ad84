"""Mask R-CNN, ViTDet style, with Vim-S, COCO. No detector was released.

No detector of Vim-S was published; this is the recipe of Vim-T.
"""

_base_ = ['_base_/mask_rcnn_vitdet.py']
pretrained = 'https://huggingface.co/hustvl/Vim-small-midclstok/resolve/main/vim_s_midclstok_80p5acc.pth'
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.Vim',
        arch='small',
        img_size=1024,
        features='residual',
        out_indices=(23,),
        out_norms=False,
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint=pretrained),
    ),
    neck=dict(in_channels=384),
)
optim_wrapper = dict(
    type='AmpOptimWrapper', dtype='bfloat16', optimizer=dict(weight_decay=0.1), paramwise_cfg=dict(layer_decay=0.837)
)
