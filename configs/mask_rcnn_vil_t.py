"""Mask R-CNN 1x with Vision-LSTM-T (ViL v2), COCO. Nothing was published for detection: this recipe is our own.

The published segmentation taps and pyramid, an FPN on top, the 1x schedule of the other families, and the drop path and
layer decay of the published ADE20K runs.
"""

_base_ = ['_base_/mask_rcnn_coco_1x.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.VisionLSTM',
        arch='vil2_tiny',
        img_size=1024,
        out_indices=(7, 11, 15, 23),
        out_norms=False,
        drop_path_rate=0.0,
        drop_path_decay=True,
        init_cfg=dict(type='Pretrained', checkpoint='vil2_tiny.e800_in1k'),
    ),
    neck=[
        dict(type='mmvssm.RescalePyramid', in_channels=192),
        dict(type='FPN', in_channels=[192, 192, 192, 192], out_channels=256, num_outs=5),
    ],
)
optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='bfloat16',
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(_delete_=True, layer_decay=0.65),
)
