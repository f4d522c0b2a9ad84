"""UperNet with Vision-LSTM-B (ViL v2), ADE20K. Published: 48.6 mIoU, 49.6 multi-scale. No segmentor was released.

The recipe of upernet_vil_t.py with the published drop path of this size.
"""

_base_ = ['./upernet_vil_t.py']
model = dict(
    backbone=dict(
        arch='vil2_base', drop_path_rate=0.1, init_cfg=dict(type='Pretrained', checkpoint='vil2_base.e400_in1k')
    ),
    neck=dict(in_channels=768),
    decode_head=dict(in_channels=[768, 768, 768, 768], channels=384),
    auxiliary_head=dict(in_channels=768, channels=384),
)
