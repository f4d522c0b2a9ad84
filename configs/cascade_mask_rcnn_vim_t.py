"""Cascade Mask R-CNN, ViTDet style, with Vim-T, COCO. Published: 45.7 box AP, 39.2 mask AP (quoted, unverified).
No detector was released.

The released recipe, rotary embeddings and the weights of Vim's first release included, but for mmdet's losses and its
mask head at each stage, padding with 114, and bfloat16 for float16.
"""

_base_ = ['_base_/cascade_mask_rcnn_vitdet.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.Vim',
        arch='tiny_rope',
        img_size=1024,
        features='residual',
        out_indices=(23,),
        out_norms=False,
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='vim_tiny_rope.in1k'),
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
