"""UperNet with VMamba-T[s2l5], ADE20K. Published: 48.3 mIoU, 48.6 multi-scale
(release tag `#v2seg`, upernet_vssm_4xb4-160k_ade20k-512x512_tiny_iter_160000.pth). The recipe of upernet_vmamba_t.py.
"""

_base_ = ['./upernet_vmamba_t.py']
model = dict(backbone=dict(arch='tiny_s2l5', init_cfg=dict(type='Pretrained', checkpoint='vmamba_tiny_s2l5.in1k')))
