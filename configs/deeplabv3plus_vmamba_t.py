"""DeepLabV3+ with VMamba-T[s1l8], ADE20K.

No such segmentor was published; the head is that of _base_/deeplabv3plus.py, the schedule that of UperNet.
"""

_base_ = ['_base_/deeplabv3plus.py', '_base_/ade20k.py', '_base_/schedule_160k.py', '_base_/runtime.py']
model = dict(
    backbone=dict(
        type='mmvssm.VMamba',
        arch='tiny_s1l8',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
        output_stride=16,
        init_cfg=dict(type='Pretrained', checkpoint='vmamba_tiny_s1l8.in1k'),
    ),
    decode_head=dict(in_channels=768, c1_in_channels=96),
    auxiliary_head=dict(in_channels=384),
)
