"""UperNet with LocalVim-S, ADE20K. Published: 46.4 mIoU, 47.5 multi-scale (paper). No segmentor was released.

Four maps of stride 16 and no neck, as published, but with RMSNorm blocks, which keep the meaning of the pre-trained
weights (the released config builds LayerNorm).
No ImageNet weights of LocalVim-S are known (the released config names a LocalVMamba-S file), so this starts from
scratch unless `model.backbone.pretrained` is given.
"""

_base_ = ['_base_/upernet_ade20k_160k.py']
model = dict(
    backbone=dict(
        type='mmvssm.LocalVim',
        arch='small',
        img_size=512,
        out_indices=(4, 9, 14, 19),
        drop_path_rate=0.1,
    ),
    decode_head=dict(in_channels=[384, 384, 384, 384]),
    auxiliary_head=dict(in_index=3, in_channels=384),
)
optim_wrapper = dict(constructor='LayerDecayOptimWrapperConstructor', paramwise_cfg=dict(_delete_=True))
