"""DINO, four scales, on COCO, 12 epochs, batch 16: mmdet's recipe, a tenth of the learning rate for the backbone.

The backbone gives maps of strides 8, 16 and 32, `out_indices=(1, 2, 3)`, and `neck.in_channels` has their three widths;
the neck adds stride 64. Other numbers of maps: `num_feature_levels`, `neck.num_outs`, and `num_levels` in encoder and
decoder. `num_queries` of the tokens become queries: 900 need images of about 210 x 210 pixels.
"""

_base_ = ['mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py', './runtime.py']
model = dict(num_feature_levels=4)
default_hooks = dict(checkpoint=dict(type='mmvssm.AtomicCheckpointHook'))
