"""RTMDet-Ins with VMamba-T[s1l8], COCO. No such detector was published.

The recipe is mmdet's: _base_/rtmdet_ins_coco_100e.py.
"""

_base_ = ['_base_/rtmdet_ins_coco_100e.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.VMamba',
        arch='tiny_s1l8',
        out_indices=(1, 2, 3),
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint='vmamba_tiny_s1l8.in1k'),
    ),
    neck=dict(in_channels=[192, 384, 768]),
)
