"""Mask R-CNN 1x with Vision-LSTM-B (ViL v2), COCO. Nothing was published for detection: this recipe is our own.

The recipe of mask_rcnn_vil_t.py with the published drop path of this size.
"""

_base_ = ['./mask_rcnn_vil_t.py']
model = dict(
    backbone=dict(
        arch='vil2_base', drop_path_rate=0.1, init_cfg=dict(type='Pretrained', checkpoint='vil2_base.e400_in1k')
    ),
    neck=[
        dict(type='mmvssm.RescalePyramid', in_channels=768),
        dict(type='FPN', in_channels=[768, 768, 768, 768], out_channels=256, num_outs=5),
    ],
)
