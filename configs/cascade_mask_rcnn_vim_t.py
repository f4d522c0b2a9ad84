"""Cascade Mask R-CNN, ViTDet style, with Vim-T, COCO. Published: 45.7 box AP, 39.2 mask AP (quoted, unverified).
No detector was released.

The released recipe, rotary embeddings and the weights of Vim's first release included, but for mmdet's losses and its
mask head at each stage, padding with 114, and bfloat16 for float16.
"""

_base_ = ['./mask_rcnn_vim_t.py']
norm_cfg = dict(type='mmvssm.ChannelNorm', eps=1e-6)
assigner = dict(type='MaxIoUAssigner', match_low_quality=False, ignore_iof_thr=-1)
sampler = dict(type='RandomSampler', num=512, pos_fraction=0.25, neg_pos_ub=-1, add_gt_as_proposals=True)
model = dict(
    type='CascadeRCNN',
    backbone=dict(arch='tiny_rope', init_cfg=dict(type='Pretrained', checkpoint='vim_tiny_rope.in1k')),
    roi_head=dict(
        type='CascadeRoIHead',
        num_stages=3,
        stage_loss_weights=[1, 0.5, 0.25],
        bbox_head=[
            dict(
                type='Shared4Conv1FCBBoxHead',
                conv_out_channels=256,
                fc_out_channels=1024,
                norm_cfg=norm_cfg,
                num_classes=80,
                reg_class_agnostic=True,
                bbox_coder=dict(
                    type='DeltaXYWHBBoxCoder', target_stds=[round(std / stage, 3) for std in (0.1, 0.1, 0.2, 0.2)]
                ),
            )
            for stage in (1, 2, 3)
        ],
    ),
    train_cfg=dict(
        rcnn=[
            dict(
                assigner=dict(assigner, pos_iou_thr=iou, neg_iou_thr=iou, min_pos_iou=iou),
                sampler=sampler,
                mask_size=28,
                pos_weight=-1,
                debug=False,
            )
            for iou in (0.5, 0.6, 0.7)
        ]
    ),
)
