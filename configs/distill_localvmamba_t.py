"""LocalVMamba-T learns four maps of ConvNeXt-B (ImageNet-22k), on images without labels, from scratch: no weights of it
were ever released.
"""

_base_ = ['./_base_/distill_20k.py']
model = dict(
    backbone=dict(type='mmvssm.LocalVMamba', arch='tiny', drop_path_rate=0.2),
    teacher=dict(model_name='convnext_base.fb_in22k_ft_in1k', pretrained=True),
    pairs=[(0, 0), (1, 1), (2, 2), (3, 3)],
)
