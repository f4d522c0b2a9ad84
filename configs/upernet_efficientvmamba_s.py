"""UperNet with EfficientVMamba-S, ADE20K. Published: 41.5 mIoU, 42.1 multi-scale (paper). No segmentor was released.

No config was published; the paper says "aligned with VMamba", which this is. The head width of 384 is what meets the
published totals (inferred, undocumented); the drop path is not stated, 0.1 is the pre-training rate.
"""

_base_ = ['_base_/upernet_ade20k_160k.py']
model = dict(
    backbone=dict(
        type='mmvssm.EfficientVMamba',
        arch='small',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='efficientvmamba_small.in1k'),
    ),
    decode_head=dict(in_channels=[64, 128, 256, 512], channels=384),
    auxiliary_head=dict(in_channels=256),
)
