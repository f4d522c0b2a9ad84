"""Cascade Mask R-CNN, ViTDet style, with Vision-LSTM-T (ViL v2), COCO. Nothing was published: this recipe is our own.

The heads, pyramid and schedule of cascade_mask_rcnn_vim_t.py; the drop path and layer decay of the published ADE20K
runs.
"""

_base_ = ['_base_/cascade_mask_rcnn_vitdet.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.VisionLSTM',
        arch='vil2_tiny',
        img_size=1024,
        out_indices=(23,),
        out_norms=False,
        drop_path_rate=0.0,
        drop_path_decay=True,
        init_cfg=dict(type='Pretrained', checkpoint='vil2_tiny.e800_in1k'),
    ),
    neck=dict(in_channels=192),
)
optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='bfloat16',
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay=0.65),
)
