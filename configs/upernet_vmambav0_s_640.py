"""UperNet with Vanilla-VMamba-S, ADE20K, crops of 640. Published: 50.8 mIoU, 50.8 multi-scale
(release tag `20240223`, vssmsmall_upernet_4xb4-160k_ade20k-640x640_iter_112000.pth).
The recipe of upernet_vmambav0_s.py, with images a quarter larger in training and in tests.
"""

_base_ = ['./upernet_vmambav0_s.py']
crop_size = (640, 640)
scale = (2560, 640)
model = dict(data_preprocessor=dict(size=crop_size))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=scale, ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=(2560 * r // 4, 640 * r // 4), keep_ratio=True) for r in (2, 3, 4, 5, 6, 7)],
            [dict(type='RandomFlip', prob=p, direction='horizontal') for p in (0.0, 1.0)],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ],
    ),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
