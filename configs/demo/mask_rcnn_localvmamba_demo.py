"""A small Mask R-CNN with a small LocalVMamba on the embedded data set, from scratch, in minutes on two CPU cores."""

_base_ = ['../_base_/mask_rcnn_coco_1x.py']
data_root = 'data/shapes/'
classes = ('disc', 'triangle', 'star', 'ring')
width = 64
norm_cfg = dict(type='GN', num_groups=8)  # from scratch, heads without norms hardly learn
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.LocalVMamba',
        depths=(1, 1, 2, 1),
        dims=(24, 48, 96, 192),
        d_state=1,
        ssm_ratio=1.0,
        directions=[
            ['h', 'v', 'h_flip', 'v_flip'],
            ['h', 'v_flip', 'w2', 'w2_flip'],
            ['h_flip', 'v', 'w2', 'w7_flip'],
            ['h', 'v_flip', 'w7', 'w7_flip'],
            ['h', 'h_flip', 'v', 'v_flip'],
        ],
        out_indices=(0, 1, 2, 3),
    ),
    neck=dict(in_channels=[24, 48, 96, 192], out_channels=width, norm_cfg=norm_cfg),
    rpn_head=dict(in_channels=width, feat_channels=width, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=width, roi_layer=dict(sampling_ratio=1)),
        bbox_head=dict(
            type='ConvFCBBoxHead',
            num_shared_convs=1,
            num_shared_fcs=1,
            conv_out_channels=width,
            in_channels=width,
            fc_out_channels=256,
            num_classes=4,
            norm_cfg=norm_cfg,
        ),
        mask_roi_extractor=dict(out_channels=width, roi_layer=dict(sampling_ratio=1)),
        mask_head=dict(in_channels=width, conv_out_channels=width, num_convs=2, num_classes=4, norm_cfg=norm_cfg),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(sampler=dict(num=32, pos_fraction=0.5)),  # more masks to learn from at the same cost
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100)),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(112, 112), keep_ratio=True),
    dict(type='RandomFlip', prob=[0.35, 0.35], direction=['horizontal', 'vertical']),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(112, 112), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
tta_pipeline = None  # made out of the test pipeline
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='images/training/'),
        metainfo=dict(classes=classes),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='images/validation/'),
        metainfo=dict(classes=classes),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator

epochs = 12
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3, fused=True), clip_grad=dict(max_norm=10))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=epochs, eta_min_ratio=0.01, convert_to_iter_based=True),
]
randomness = dict(seed=0)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=epochs, max_keep_ckpts=1))
custom_hooks = [dict(type='mmvssm.NaNWatchHook'), dict(type='mmvssm.ContactSheetHook')]
