"""What the configs of swapped heads hold: mmdet's recipes for these heads.

Nothing was published for these with the backbones here. Rows for test_recipes: config -> dotted field -> value.
`TOTALS` are millions of parameters, the backbone's included.
"""

import mmdet
from mmengine.utils import digit_version

ADAMW = {'optim_wrapper.optimizer.type': 'AdamW', 'train_dataloader.batch_size': 2}
INPUT = {
    'model.data_preprocessor.mean': [123.675, 116.28, 103.53],
    'model.data_preprocessor.std': [58.395, 57.12, 57.375],
    'model.data_preprocessor.bgr_to_rgb': True,
}
VMAMBA = {
    'model.backbone.type': 'mmvssm.VMamba',
    'model.backbone.arch': 'tiny_s1l8',
    'model.backbone.drop_path_rate': 0.2,
    'model.backbone.init_cfg.checkpoint': 'vmamba_tiny_s1l8.in1k',
}
FOUR = {'model.backbone.out_indices': [0, 1, 2, 3], 'model.neck.in_channels': [96, 192, 384, 768]}
THREE = {'model.backbone.out_indices': [1, 2, 3], 'model.neck.in_channels': [192, 384, 768]}
SWIN_1X = {
    'optim_wrapper.optimizer.lr': 1e-4,
    'optim_wrapper.optimizer.weight_decay': 0.05,
    'optim_wrapper.paramwise_cfg.custom_keys.norm': {'decay_mult': 0.0},
    'param_scheduler.LinearLR.end': 1000,
}
ONE_X = {
    'optim_wrapper.type': 'OptimWrapper',
    'train_cfg.max_epochs': 12,
    'param_scheduler.MultiStepLR.milestones': [8, 11],
    'auto_scale_lr.base_batch_size': 16,
    'train_dataloader.dataset.pipeline.Resize.scale': [1333, 800],
}
PVT_1X = {'optim_wrapper.optimizer.lr': 1e-4, 'optim_wrapper.optimizer.weight_decay': 1e-4}
BFLOAT16 = {'optim_wrapper.type': 'AmpOptimWrapper', 'optim_wrapper.dtype': 'bfloat16'}
STAGES = {
    'model.type': 'CascadeRCNN',
    **{f'model.train_cfg.rcnn.{i}.assigner.pos_iou_thr': iou for i, iou in enumerate((0.5, 0.6, 0.7))},
}
CASCADE_VITDET = {
    **STAGES,
    'model.neck': {'type': 'mmvssm.SimplePyramid', 'in_channels': 192, 'out_channels': 256, 'num_outs': 5},
    'model.roi_head.bbox_head.2.type': 'Shared4Conv1FCBBoxHead',
    'optim_wrapper.optimizer.lr': 1e-4,
    'optim_wrapper.optimizer.weight_decay': 0.05,
    'train_cfg.max_iters': 184375,
    'auto_scale_lr.base_batch_size': 64,
}
MASK2FORMER = {
    'model.neck': None,
    'model.panoptic_head.in_channels': [96, 192, 384, 768],
    'model.panoptic_head.num_queries': 100,
    'optim_wrapper.optimizer.lr': 1e-4,
    'optim_wrapper.optimizer.weight_decay': 0.05,
    'optim_wrapper.clip_grad.max_norm': 0.01,
    'optim_wrapper.paramwise_cfg.custom_keys.backbone': {'lr_mult': 0.1, 'decay_mult': 1.0},
    'optim_wrapper.paramwise_cfg.norm_decay_mult': 0.0,
    'train_cfg.max_iters': 368750,
    'param_scheduler.MultiStepLR.milestones': [327778, 355092],
    'auto_scale_lr.base_batch_size': 16,
}
RTMDET = {
    'model.type': 'RTMDet',
    'model.data_preprocessor.pad_size_divisor': 32,
    'model.neck.norm_cfg': {'type': 'GN', 'num_groups': 32},
    'model.bbox_head.norm_cfg': {'type': 'GN', 'num_groups': 32},
    'optim_wrapper.optimizer.type': 'AdamW',
    'optim_wrapper.optimizer.lr': 1e-3,
    'optim_wrapper.optimizer.weight_decay': 0.05,
    'optim_wrapper.paramwise_cfg.bias_decay_mult': 0,
    'train_cfg.max_epochs': 100,
    'train_cfg.dynamic_intervals': [[90, 1]],
    'train_dataloader.batch_size': 32,
    'param_scheduler.CosineAnnealingLR.begin': 50,
    'param_scheduler.CosineAnnealingLR.eta_min': 5e-5,
    'param_scheduler.CosineAnnealingLR.T_max': 50,
    'custom_hooks.PipelineSwitchHook.switch_epoch': 90,
    'custom_hooks.EMAHook.momentum': 0.0002,
}

DETECTORS = {
    'retinanet_vmamba_t': INPUT | ADAMW | VMAMBA | FOUR | ONE_X | PVT_1X | {'model.type': 'RetinaNet'},
    'fcos_vmamba_t': INPUT
    | ADAMW
    | VMAMBA
    | FOUR
    | ONE_X
    | PVT_1X
    | {
        'model.type': 'FCOS',
        'model.bbox_head.center_sampling': True,
        'model.bbox_head.norm_on_bbox': True,
        'model.bbox_head.loss_bbox.type': 'GIoULoss',
        'optim_wrapper.clip_grad': None,
        'optim_wrapper.paramwise_cfg': {},
    },
    'faster_rcnn_localvmamba_t': INPUT
    | ADAMW
    | FOUR
    | ONE_X
    | SWIN_1X
    | BFLOAT16
    | {'model.type': 'FasterRCNN', 'model.backbone.arch': 'tiny', 'model.backbone.init_cfg': None},
    'cascade_mask_rcnn_vmamba_t': INPUT | ADAMW | VMAMBA | FOUR | ONE_X | SWIN_1X | STAGES,
    'cascade_mask_rcnn_localvim_t': INPUT
    | ADAMW
    | CASCADE_VITDET
    | {
        'model.backbone.arch': 'tiny',
        'model.backbone.out_indices': [19],
        'model.backbone.init_cfg.checkpoint': 'localvim_tiny.in1k',
        'optim_wrapper.clip_grad': {'max_norm': 35},
    },
    'cascade_mask_rcnn_vil_t': INPUT
    | ADAMW
    | CASCADE_VITDET
    | BFLOAT16
    | {
        'model.backbone.arch': 'vil2_tiny',
        'model.backbone.out_indices': [23],
        'model.backbone.init_cfg.checkpoint': 'vil2_tiny.e800_in1k',
        'optim_wrapper.paramwise_cfg': {'layer_decay': 0.65},
    },
    'mask2former_vmamba_t': INPUT
    | ADAMW
    | VMAMBA
    | MASK2FORMER
    | {'model.panoptic_head.num_things_classes': 80, 'model.panoptic_head.num_stuff_classes': 0},
    'mask2former_panoptic_vmamba_t': INPUT
    | ADAMW
    | VMAMBA
    | MASK2FORMER
    | {'model.panoptic_head.num_things_classes': 80, 'model.panoptic_head.num_stuff_classes': 53},
    'dino_vmamba_t': INPUT
    | ADAMW
    | VMAMBA
    | THREE
    | PVT_1X
    | {
        'model.type': 'DINO',
        'model.num_queries': 900,
        'model.num_feature_levels': 4,
        'model.neck.num_outs': 4,
        'optim_wrapper.clip_grad.max_norm': 0.1,
        'optim_wrapper.paramwise_cfg.custom_keys.backbone': {'lr_mult': 0.1},
        'train_cfg.max_epochs': 12,
        'auto_scale_lr.base_batch_size': 16,
    },
    'deformable_detr_vmamba_t': INPUT
    | ADAMW
    | VMAMBA
    | THREE
    | {
        'model.type': 'DeformableDETR',
        'model.with_box_refine': True,
        'model.num_queries': 300,
        'model.neck.num_outs': 4,
        'optim_wrapper.optimizer.lr': 2e-4,
        'optim_wrapper.optimizer.weight_decay': 1e-4,
        'optim_wrapper.paramwise_cfg.custom_keys.sampling_offsets': {'lr_mult': 0.1},
        'train_cfg.max_epochs': 50,
        'auto_scale_lr.base_batch_size': 32,
    },
    'rtmdet_vmamba_t': INPUT | VMAMBA | THREE | RTMDET | {'model.bbox_head.type': 'RTMDetSepBNHead'},
    'rtmdet_ins_vmamba_t': INPUT
    | VMAMBA
    | THREE
    | RTMDET
    | {'model.bbox_head.type': 'RTMDetInsSepBNHead', 'val_evaluator.metric': ['bbox', 'segm']},
}

TOTALS = {
    'retinanet_vmamba_t': 40.42,
    'fcos_vmamba_t': 37.70,
    'faster_rcnn_localvmamba_t': 42.39,
    'cascade_mask_rcnn_vmamba_t': 82.68,
    'cascade_mask_rcnn_vim_t': 65.37,
    'cascade_mask_rcnn_localvim_t': 66.22,
    'cascade_mask_rcnn_vil_t': 64.42,
    'mask2former_vmamba_t': 49.38,
    'mask2former_panoptic_vmamba_t': 49.40,
    # onedl's mmdet widened the first layer of the reference points, from the 512 of the paper's code
    'dino_vmamba_t': 50.28 if digit_version(mmdet.__version__) >= digit_version('3.4') else 50.15,
    'deformable_detr_vmamba_t': 43.34,
    'rtmdet_vmamba_t': 46.07,
    'rtmdet_ins_vmamba_t': 51.12,
}
