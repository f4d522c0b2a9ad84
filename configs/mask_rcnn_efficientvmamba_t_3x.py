"""Mask R-CNN 3x multi-scale with EfficientVMamba-T, COCO, mixed precision as published (here bfloat16).
Published: 38.3 box AP, 35.3 mask AP (paper). No detector was released.

The only released 3x config is B's: this is its schedule on the model of mask_rcnn_efficientvmamba_t.py,
with all head widths halved (inferred, undocumented). Drop path 0.2 is the paper's.
"""

_base_ = ['_base_/mask_rcnn_coco_3x.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.EfficientVMamba',
        arch='tiny',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint='efficientvmamba_tiny.in1k'),
    ),
    neck=dict(in_channels=[48, 96, 192, 384], out_channels=128),
    rpn_head=dict(in_channels=128, feat_channels=128),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=128),
        bbox_head=dict(in_channels=128, fc_out_channels=512),
        mask_roi_extractor=dict(out_channels=128),
        mask_head=dict(in_channels=128, conv_out_channels=128),
    ),
)
optim_wrapper = dict(type='AmpOptimWrapper', dtype='bfloat16')
train_dataloader = dict(batch_size=4)
