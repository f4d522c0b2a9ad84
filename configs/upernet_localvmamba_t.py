"""UperNet with LocalVMamba-T, ADE20K, float32, as published.
Published: 47.9 mIoU, 49.1 multi-scale (paper). No segmentor was released.

No ImageNet weights of LocalVMamba-T were ever released (the file that the published configs name never
appeared), so this starts from scratch; give your own with
`--cfg-options model.backbone.pretrained=PATH`.
"""

_base_ = ['_base_/upernet_ade20k_160k.py']
model = dict(
    backbone=dict(
        type='mmvssm.LocalVMamba',
        arch='tiny',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.1,
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
