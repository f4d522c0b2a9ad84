"""LocalVim-T on ImageNet-1K from scratch; its search (`mmvssm search`) has two thirds of the width and 100 epochs."""

_base_ = ['./_base_/imagenet_300e.py']
model = dict(backbone=dict(type='mmvssm.LocalVim', arch='tiny', drop_path_rate=0.1))
search = {'model.backbone.embed_dim': 128, 'train_cfg.max_epochs': 100, 'param_scheduler.1.end': 100}
