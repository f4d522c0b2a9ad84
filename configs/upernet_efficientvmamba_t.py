"""UperNet with EfficientVMamba-T, ADE20K. Published: 38.9 mIoU, 39.3 multi-scale (paper). No segmentor was released.

No config was published; the paper says "aligned with VMamba", which this is. The head width of 256 is what meets the
published totals (inferred, undocumented); the drop path is not stated, 0.1 is the pre-training rate.
"""

_base_ = ['_base_/upernet_ade20k_160k.py']
model = dict(
    backbone=dict(
        type='mmvssm.EfficientVMamba',
        arch='tiny',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='efficientvmamba_tiny.in1k'),
    ),
    decode_head=dict(in_channels=[48, 96, 192, 384], channels=256),
    auxiliary_head=dict(in_channels=192),
)
