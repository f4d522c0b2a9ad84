"""Mask R-CNN 1x with Heracles-C-S, COCO. No recipe, weights or detector were released.

The nearest published recipe (AdamW 1x, that of PVT-v2 and Swin), no weight decay on norms, biases and spectral
weights, the authors' drop path of its size, and the stem's BatchNorm over the images of all GPUs, as each has two.
It starts from scratch unless `model.backbone.pretrained` is given.
"""

_base_ = ['_base_/mask_rcnn_coco_1x.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.Heracles',
        arch='small',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.1,
    ),
    neck=dict(in_channels=[64, 128, 320, 448]),
)
optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='bfloat16',
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(_delete_=True),
)
sync_bn = 'torch'
