"""Mask R-CNN 1x with EfficientVMamba-T, COCO, mixed precision as published (here bfloat16).
Published: 35.6 box AP, 33.2 mask AP (paper). No detector was released.

The released config has the depths and neck widths of other models; this one has those of the published weights.
Its 4 GPUs x 4 images matter to the BatchNorms, which are not synchronised.
The published totals (11 M, 60 G) are met with all head widths halved (inferred, undocumented), so they are halved here.
Drop path 0.2 is the paper's, and what the released configs inherit from Swin's.
"""

_base_ = ['_base_/mask_rcnn_coco_1x.py']
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
