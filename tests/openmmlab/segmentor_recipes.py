"""What the configs of swapped segmentor heads hold; nothing was published with our backbones.

Rows for test_recipes: config -> dotted field -> value. `TOTALS` are millions of parameters, the backbone's included.
"""

from tests.openmmlab.head_recipes import INPUT, VMAMBA

ADE20K = {
    **INPUT,
    'train_dataloader.batch_size': 2,
    'train_dataloader.dataset.type': 'ADE20KDataset',
    'optim_wrapper.type': 'OptimWrapper',
    'optim_wrapper.optimizer.type': 'AdamW',
    'train_cfg.max_iters': 160000,
    'param_scheduler.LinearLR.end': 1500,
    'auto_scale_lr.base_batch_size': 16,
    'val_evaluator.iou_metrics': ['mIoU'],
}
SWIN = {'optim_wrapper.optimizer.lr': 6e-5, 'optim_wrapper.optimizer.weight_decay': 0.01}
FOUR = {'model.backbone.out_indices': [0, 1, 2, 3]}
LAST_AND_THIRD = {
    'model.decode_head.in_index': 3,
    'model.decode_head.in_channels': 768,
    'model.auxiliary_head.type': 'FCNHead',
    'model.auxiliary_head.in_index': 2,
    'model.auxiliary_head.in_channels': 384,
    'model.auxiliary_head.loss_decode.loss_weight': 0.4,
}

SEGMENTORS = {
    'segformer_localvmamba_t': ADE20K
    | SWIN
    | FOUR
    | {
        'model.backbone.type': 'mmvssm.LocalVMamba',
        'model.decode_head.type': 'SegformerHead',
        'model.decode_head.in_channels': [96, 192, 384, 768],
        'model.decode_head.channels': 256,
        'optim_wrapper.paramwise_cfg.custom_keys.decode_head': {'lr_mult': 10.0},
        'optim_wrapper.paramwise_cfg.custom_keys.norm': {'decay_mult': 0.0},
    },
    'pspnet_vmamba_t': ADE20K
    | SWIN
    | FOUR
    | VMAMBA
    | LAST_AND_THIRD
    | {'model.decode_head.type': 'PSPHead', 'model.decode_head.pool_scales': [1, 2, 3, 6]},
    'deeplabv3plus_vmamba_t': ADE20K
    | SWIN
    | FOUR
    | VMAMBA
    | LAST_AND_THIRD
    | {
        'model.backbone.output_stride': 16,
        'model.decode_head.type': 'DepthwiseSeparableASPPHead',
        'model.decode_head.dilations': [1, 6, 12, 18],
        'model.decode_head.c1_in_channels': 96,
    },
    'semantic_fpn_efficientvmamba_t': ADE20K
    | SWIN
    | FOUR
    | {
        'model.backbone.type': 'mmvssm.EfficientVMamba',
        'model.neck': {'type': 'FPN', 'in_channels': [48, 96, 192, 384], 'out_channels': 256, 'num_outs': 4},
        'model.decode_head.type': 'FPNHead',
        'model.decode_head.channels': 128,
    },
    'setr_vim_t': ADE20K
    | SWIN
    | {
        'model.backbone.type': 'mmvssm.Vim',
        'model.backbone.out_indices': [5, 11, 17, 23],
        'model.decode_head.type': 'SETRUPHead',
        'model.decode_head.num_convs': 4,
        'model.decode_head.up_scale': 2,
        'model.auxiliary_head.2.in_index': 2,
        'model.auxiliary_head.2.up_scale': 4,
        'model.test_cfg.mode': 'slide',
    },
    'mask2former_semantic_vmamba_t': ADE20K
    | FOUR
    | VMAMBA
    | {
        'model.decode_head.type': 'Mask2FormerHead',
        'model.decode_head.in_channels': [96, 192, 384, 768],
        'model.decode_head.num_queries': 100,
        'model.data_preprocessor.test_cfg.size_divisor': 32,
        'optim_wrapper.optimizer.lr': 1e-4,
        'optim_wrapper.optimizer.weight_decay': 0.05,
        'optim_wrapper.clip_grad.max_norm': 0.01,
        'optim_wrapper.paramwise_cfg.custom_keys.backbone': {'lr_mult': 0.1},
    },
}

UPERNET = {
    **VMAMBA,
    'model.decode_head.type': 'UPerHead',
    'optim_wrapper.type': 'OptimWrapper',
    'optim_wrapper.optimizer.lr': 6e-5,
    'train_cfg.max_iters': 160000,
    'train_dataloader.batch_size': 2,
}
ONE_X = {
    **INPUT,
    **VMAMBA,
    'model.neck.in_channels': [96, 192, 384, 768],
    'optim_wrapper.type': 'OptimWrapper',
    'optim_wrapper.optimizer.type': 'AdamW',
    'optim_wrapper.optimizer.lr': 1e-4,
    'optim_wrapper.paramwise_cfg.custom_keys.norm': {'decay_mult': 0.0},
}

OTHER_DATA = {
    'upernet_vmamba_t_cityscapes': UPERNET
    | {
        'train_dataloader.dataset.type': 'CityscapesDataset',
        'train_dataloader.dataset.pipeline.RandomCrop.crop_size': [512, 1024],
        'model.data_preprocessor.size': [512, 1024],
        'model.test_cfg.crop_size': [1024, 1024],
    },
    'upernet_vmamba_t_voc': UPERNET
    | {
        'train_dataloader.dataset.type': 'PascalVOCDataset',
        'train_dataloader.dataset.ann_file': 'ImageSets/Segmentation/train.txt',
    },
    'upernet_vmamba_t_context': UPERNET | {'train_dataloader.dataset.type': 'PascalContextDataset59'},
    'faster_rcnn_vmamba_t_voc': ONE_X
    | {
        'train_cfg.max_epochs': 4,
        'param_scheduler.MultiStepLR.milestones': [3],
        'train_dataloader.dataset.times': 3,
        'val_evaluator.eval_mode': '11points',
    },
    'mask_rcnn_vmamba_t_cityscapes': ONE_X
    | {
        'train_cfg.max_epochs': 8,
        'param_scheduler.MultiStepLR.milestones': [7],
        'train_dataloader.dataset.times': 8,
        'train_dataloader.batch_size': 1,
    },
    'mask_rcnn_vmamba_t_lvis': ONE_X
    | {
        'train_cfg.max_epochs': 12,
        'param_scheduler.MultiStepLR.milestones': [8, 11],
        'train_dataloader.dataset.oversample_thr': 1e-3,
        'model.test_cfg.rcnn.score_thr': 1e-4,
        'model.test_cfg.rcnn.max_per_img': 300,
    },
}

TOTALS = {
    'segformer_localvmamba_t': 25.43,
    'pspnet_vmamba_t': 45.04,
    'deeplabv3plus_vmamba_t': 44.84,
    'semantic_fpn_efficientvmamba_t': 10.30,
    'setr_vim_t': 12.58,
    'mask2former_semantic_vmamba_t': 49.40,
}
