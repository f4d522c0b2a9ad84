"""LocalVMamba-T on ImageNet-1K from scratch; its search (`mmvssm search`) has a third of the width and 100 epochs."""

_base_ = ['./_base_/imagenet_300e.py']
model = dict(backbone=dict(type='mmvssm.LocalVMamba', arch='tiny', drop_path_rate=0.1))
search = {'model.backbone.dims': 32, 'train_cfg.max_epochs': 100, 'param_scheduler.1.end': 100}
