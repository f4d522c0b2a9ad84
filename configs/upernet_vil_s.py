"""UperNet with Vision-LSTM-S (ViL v2), ADE20K. Published: 46.3 mIoU, 47.9 multi-scale. No segmentor was released.

The published recipe with mmseg's augmentation and test protocol: the authors squash test images to a square.
Layer decay counts pairs of blocks. The head's inputs and batch norms are those of one GPU with 16 images.
"""

_base_ = ['_base_/upernet_ade20k_160k.py']
pretrained = 'https://ml.jku.at/research/vision_lstm/download/vil2_small16_e400_in1k.th'
model = dict(
    backbone=dict(
        type='mmvssm.VisionLSTM',
        arch='vil2_small',
        img_size=512,
        out_indices=(7, 11, 15, 23),
        out_norms=False,
        drop_path_rate=0.05,
        init_cfg=dict(type='Pretrained', checkpoint=pretrained),
    ),
    neck=dict(type='mmvssm.RescalePyramid', in_channels=384),
    decode_head=dict(in_channels=[384, 384, 384, 384], channels=384),
    auxiliary_head=dict(in_channels=384, channels=384),
)
optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='bfloat16',
    optimizer=dict(lr=5e-4, weight_decay=0.05),
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(_delete_=True, layer_decay=0.65),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1000),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=False, begin=1000, end=160000),
]
train_dataloader = dict(batch_size=16)
