"""RetinaNet with FPN on COCO, 12 epochs: PVT's recipe (AdamW, lr and weight decay 1e-4), batch 16."""

_base_ = ['mmdet::pvt/retinanet_pvt-t_fpn_1x_coco.py', './coco_tta.py', './runtime.py']
default_hooks = dict(checkpoint=dict(type='mmvssm.AtomicCheckpointHook'))
