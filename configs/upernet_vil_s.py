"""UperNet with Vision-LSTM-S (ViL v2), ADE20K. Published: 46.3 mIoU, 47.9 multi-scale. No segmentor was released.

The recipe of upernet_vil_t.py with the published drop path of this size.
"""

_base_ = ['./upernet_vil_t.py']
model = dict(
    backbone=dict(
        arch='vil2_small', drop_path_rate=0.05, init_cfg=dict(type='Pretrained', checkpoint='vil2_small.e400_in1k')
    ),
    neck=dict(in_channels=384),
    decode_head=dict(in_channels=[384, 384, 384, 384], channels=384),
    auxiliary_head=dict(in_channels=384, channels=384),
)
