"""Mask R-CNN, ViTDet style, with Vim-T, COCO: cascade_mask_rcnn_vim_t.py's recipe with plain heads.

No such detector was published. It starts from the later and better classification weights, which have no rotary
embedding and halve the sum of the two directions; mixed precision is bfloat16 (published: float16).
"""

_base_ = ['_base_/mask_rcnn_vitdet.py']
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
        init_cfg=dict(type='Pretrained', checkpoint='vim_tiny.in1k'),
    ),
    neck=dict(in_channels=192),
)
optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='bfloat16',
    optimizer=dict(weight_decay=0.1),
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay=0.837, no_decay=['backbone.pos_embed']),
)
