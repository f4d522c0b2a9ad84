"""Mask R-CNN, ViTDet style, with Vim-T, COCO. No detector was released.

The published detector is a Cascade Mask R-CNN (45.7 box AP, 39.2 mask AP, quoted figures, unverified) of the same
recipe on older classification weights; this has the plain heads and the released weights.
"""

_base_ = ['_base_/mask_rcnn_vitdet.py']
pretrained = 'https://huggingface.co/hustvl/Vim-tiny-midclstok/resolve/main/vim_t_midclstok_76p1acc.pth'
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.Vim',
        arch='tiny',
        img_size=1024,
        features='residual',
        out_indices=(23,),
        out_norms=False,
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint=pretrained),
    ),
    neck=dict(in_channels=192),
)
optim_wrapper = dict(
    type='AmpOptimWrapper', dtype='bfloat16', optimizer=dict(weight_decay=0.1), paramwise_cfg=dict(layer_decay=0.837)
)
