"""Cascade Mask R-CNN on a simple feature pyramid, COCO: mask_rcnn_vitdet.py's recipe with three box heads (ViTDet)."""

_base_ = ['./mask_rcnn_vitdet.py']
norm_cfg = dict(type='mmvssm.ChannelNorm', eps=1e-6)
assigner = dict(type='MaxIoUAssigner', match_low_quality=False, ignore_iof_thr=-1)
sampler = dict(type='RandomSampler', num=512, pos_fraction=0.25, neg_pos_ub=-1, add_gt_as_proposals=True)
model = dict(
    type='CascadeRCNN',
    roi_head=dict(
        type='CascadeRoIHead',
        num_stages=3,
        stage_loss_weights=[1, 0.5, 0.25],
        bbox_head=[
            dict(
                type='Shared4Conv1FCBBoxHead',
                in_channels=256,
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
