"""FCOS with FPN on COCO, 12 epochs: mmdet's best head (centre sampling, normed boxes, GIoU), AdamW as for RetinaNet.

mmdet's configs of FCOS are for Caffe's ResNet: BGR, not divided by a deviation. Here images are what these backbones
were trained on. The rates of biases, which are for SGD, are dropped.
"""

_base_ = ['mmdet::fcos/fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py', './runtime.py']
model = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, weight_decay=1e-4), paramwise_cfg=dict(_delete_=True)
)
default_hooks = dict(checkpoint=dict(type='mmvssm.AtomicCheckpointHook'))
