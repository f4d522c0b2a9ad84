"""RetinaNet 1x with EfficientVMamba-T, COCO. Published: 37.5 box AP (paper). No config and no detector was released.

The paper says PVT's protocol at batch 16 and drop path 0.2; float32 is this project's choice. The standard head makes
16.0 M parameters where 13 M are published, which no documented head explains.
"""

_base_ = ['_base_/retinanet_coco_1x.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.EfficientVMamba',
        arch='tiny',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint='efficientvmamba_tiny.in1k'),
    ),
    neck=dict(in_channels=[48, 96, 192, 384]),
)
