"""UperNet with Heracles-C-B, ADE20K. No recipe, weights or segmentor were released.

The nearest published recipe (VMamba's), without weight decay on norms, biases and spectral weights. It starts from
scratch unless `model.backbone.pretrained` is given.
"""

_base_ = ['_base_/upernet_ade20k_160k.py']
model = dict(
    backbone=dict(
        type='mmvssm.Heracles',
        arch='base',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
    ),
    decode_head=dict(in_channels=[64, 128, 320, 512]),
    auxiliary_head=dict(in_channels=320),
)
optim_wrapper = dict(constructor='LayerDecayOptimWrapperConstructor', paramwise_cfg=dict(_delete_=True))
