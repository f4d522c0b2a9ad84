"""UperNet with Vanilla-VMamba-S, ADE20K. Published: 49.5 mIoU, 50.5 multi-scale
(release tag `#v0seg`, vssmsmall_upernet_4xb4-160k_ade20k-512x512_iter_160000.pth).
float32 and the best evaluation kept, as published. Drop path 0.3 is what the authors' config inherits from Swin's.
"""

_base_ = ['./upernet_vmambav0_t.py']
model = dict(backbone=dict(arch='vmambav0_small', init_cfg=dict(type='Pretrained', checkpoint='vmambav0_small.in1k')))
