"""UperNet with EfficientVMamba-B, ADE20K. Published: 46.5 mIoU, 47.3 multi-scale (paper). No segmentor was released.

No config was published; the paper says "aligned with VMamba", which this is. The head width of 512 is what meets the
published totals (inferred, undocumented); the drop path is not stated, 0.1 is the pre-training rate.
"""

_base_ = ['_base_/upernet_ade20k_160k.py']
model = dict(
    backbone=dict(
        type='mmvssm.EfficientVMamba',
        arch='base',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='efficientvmamba_base.in1k'),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768], channels=512),
    auxiliary_head=dict(in_channels=384),
)
