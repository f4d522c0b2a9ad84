"""Mask R-CNN, ViTDet style, with LocalVim-T, COCO. No detector was released and no figure could be confirmed.

The released config, except that RMSNorm blocks keep the meaning of the pre-trained weights (it builds LayerNorm).
"""

_base_ = ['_base_/mask_rcnn_vitdet.py']
pretrained = 'https://github.com/hunto/LocalMamba/releases/download/v1.0.0/local_vim_tiny.ckpt'
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.LocalVim',
        arch='tiny',
        img_size=1024,
        out_indices=(19,),
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint=pretrained),
    ),
    neck=dict(in_channels=192),
)
