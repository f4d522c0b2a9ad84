"""UperNet with Vanilla-VMamba-B, ADE20K. Published: 50.0 mIoU, 51.3 multi-scale
(release tag `#v0seg`, vssmbase_upernet_4xb4-160k_ade20k-512x512_iter_128000.pth).
float32 and the best evaluation kept, as published. Drop path 0.3 is what the authors' config inherits from Swin's.
It starts from the weights of drop path 0.5 (83.2 top-1), not from the best.
"""

_base_ = ['./upernet_vmambav0_t.py']
model = dict(
    backbone=dict(arch='vmambav0_base', init_cfg=dict(type='Pretrained', checkpoint='vmambav0_base.dp05_in1k')),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
