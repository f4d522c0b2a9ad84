"""UperNet with Heracles-C-S, ADE20K. No recipe, weights or segmentor were released.

The nearest published recipe (VMamba's), without weight decay on norms, biases and spectral weights, with the authors'
drop path of its size and the stem's BatchNorm over the images of all GPUs, as each has two. It starts from scratch
unless `model.backbone.pretrained` is given.
"""

_base_ = ['_base_/upernet_ade20k_160k.py']
model = dict(
    backbone=dict(
        type='mmvssm.Heracles',
        arch='small',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.1,
    ),
    decode_head=dict(in_channels=[64, 128, 320, 448]),
    auxiliary_head=dict(in_channels=320),
)
optim_wrapper = dict(constructor='LayerDecayOptimWrapperConstructor', paramwise_cfg=dict(_delete_=True))
sync_bn = 'torch'
