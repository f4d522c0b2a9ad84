"""UperNet with LocalVim-S, ADE20K. Published: 46.4 mIoU, 47.5 multi-scale (paper). No segmentor was released.

The recipe of upernet_localvim_t.py. No ImageNet weights of LocalVim-S are known (the released config names a
LocalVMamba-S file), so this starts from scratch unless `model.backbone.pretrained` is given.
"""

_base_ = ['./upernet_localvim_t.py']
model = dict(
    backbone=dict(arch='small', init_cfg=None),
    decode_head=dict(in_channels=[384, 384, 384, 384]),
    auxiliary_head=dict(in_channels=384),
)
