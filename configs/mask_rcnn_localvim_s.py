"""Mask R-CNN, ViTDet style, with LocalVim-S, COCO. No detector was released and no figure could be confirmed.

The released config, except that RMSNorm blocks keep the meaning of the pre-trained weights (it builds LayerNorm).
No ImageNet weights of LocalVim-S are known (the released config names a LocalVMamba-S file), so this starts from
scratch unless `model.backbone.pretrained` is given.
"""

_base_ = ['_base_/mask_rcnn_vitdet.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.LocalVim',
        arch='small',
        img_size=1024,
        out_indices=(19,),
        drop_path_rate=0.1,
    ),
    neck=dict(in_channels=384),
)
