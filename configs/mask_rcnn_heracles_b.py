"""Mask R-CNN 1x with Heracles-C-B, COCO. No recipe, weights or detector were released.

The nearest published recipe (AdamW 1x, that of PVT-v2 and Swin), no weight
decay on norms, biases and spectral weights, and the paper's drop path for its size. It starts from scratch unless
`model.backbone.pretrained` is given.
"""

_base_ = ['_base_/mask_rcnn_coco_1x.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.Heracles',
        arch='base',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
    ),
    neck=dict(in_channels=[64, 128, 320, 512]),
)
optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='bfloat16',
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(_delete_=True),
)
