"""RetinaNet 1x with VMamba-T[s1l8], COCO. No such detector was published.

The recipe is mmdet's: _base_/retinanet_coco_1x.py.
"""

_base_ = ['_base_/retinanet_coco_1x.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.VMamba',
        arch='tiny_s1l8',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint='vmamba_tiny_s1l8.in1k'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
