"""Mask R-CNN, ViTDet style, with LocalVim-S, COCO. No detector was released and no figure could be confirmed.

The recipe of mask_rcnn_localvim_t.py at one image for each GPU, from scratch as in the released config: no ImageNet
weights of LocalVim-S are known. Give your own with `--cfg-options model.backbone.pretrained=PATH`.
"""

_base_ = ['./mask_rcnn_localvim_t.py']
model = dict(backbone=dict(arch='small', init_cfg=None), neck=dict(in_channels=384))
train_dataloader = dict(batch_size=1)
