"""Mask R-CNN 1x with Vision-LSTM-B (ViL v2), COCO. Nothing was published for detection: this recipe is our own.

The published segmentation taps and pyramid, an FPN on top, the 1x schedule of the other families, and the layer decay
of the published ADE20K runs.
"""

_base_ = ['_base_/mask_rcnn_coco_1x.py']
pretrained = 'https://ml.jku.at/research/vision_lstm/download/vil2_base16_e400_in1k.th'
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.VisionLSTM',
        arch='vil2_base',
        img_size=1024,
        out_indices=(7, 11, 15, 23),
        out_norms=False,
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint=pretrained),
    ),
    neck=[
        dict(type='mmvssm.RescalePyramid', in_channels=768),
        dict(type='FPN', in_channels=[768, 768, 768, 768], out_channels=256, num_outs=5),
    ],
)
optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='bfloat16',
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(_delete_=True, layer_decay=0.65),
)
