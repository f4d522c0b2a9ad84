"""UperNet with Vision-LSTM-T (ViL v2), ADE20K. Published: 41.2 mIoU, 43.1 multi-scale. No segmentor was released.

The published recipe for one GPU with 16 images, squashed test images included, but for: bfloat16 in place of float16,
mmseg's colour distortion, padding at one side and its averages of probabilities (not logits) over scales and flips.
Layer decay counts pairs of blocks.
"""

_base_ = ['_base_/upernet.py', '_base_/ade20k_vil.py', '_base_/schedule_160k.py', '_base_/runtime.py']
conv = dict(type='mmvssm.NormalConv2d', std=0.02)
init = dict(type='Normal', std=0.02, override=dict(name='conv_seg'))
head = dict(norm_cfg=dict(type='BN'), dropout_ratio=0.0, conv_cfg=conv, init_cfg=init)
model = dict(
    backbone=dict(
        type='mmvssm.VisionLSTM',
        arch='vil2_tiny',
        img_size=512,
        out_indices=(7, 11, 15, 23),
        out_norms=False,
        drop_path_rate=0.0,
        drop_path_decay=True,
        init_cfg=dict(type='Pretrained', checkpoint='vil2_tiny.e800_in1k'),
    ),
    neck=dict(type='mmvssm.RescalePyramid', in_channels=192),
    decode_head=dict(in_channels=[192, 192, 192, 192], channels=192, **head),
    auxiliary_head=dict(in_channels=192, channels=192, **head),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
)
optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='bfloat16',
    optimizer=dict(lr=5e-4, weight_decay=0.05),
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(_delete_=True, layer_decay=0.65),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=False, begin=1500, end=160000),
]
train_cfg = dict(val_interval=10000)
default_hooks = dict(checkpoint=dict(save_best='mIoU'))
