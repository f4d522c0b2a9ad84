"""Wrong settings, one a line: each ends in a line or two that name the field and what is allowed, before data are read.

The tables of constructor arguments are in tests/backbones/test_settings.py.
"""

import copy
import re

import pytest
from mmengine.config import Config, ConfigDict

from mmvssm import configs
from mmvssm.commands import arguments
from mmvssm.errors import UsageError
from mmvssm.openmmlab import config_files, preflight

NAMES = {
    'd': 'demo/mask_rcnn_localvmamba_demo',
    's': 'demo/upernet_localvmamba_demo',
    'r': 'retinanet_efficientvmamba_t',
    'q': 'dino_vmamba_t',
    'm': 'mask2former_vmamba_t',
}

# KEY=VALUE of the detector's config -> what the message has
DETECTOR = {
    # backbone, neck and heads
    'model.neck.in_channels=[24,48,96,99]': r'model\.neck\.in_channels=.*99\] does not fit model\.backbone .*192\]',
    'model.neck.in_channels=[24,48,96]': r'write model\.neck\.in_channels=\[24, 48, 96, 192\]',
    'model.neck.in_channels=64': r'write model\.neck\.in_channels',
    'model.backbone.out_indices=(0,1)': r'gives 2 maps of \[24, 48\] channels: write .*=\[24, 48\]',
    'model.backbone.dims=(24,48,96,200)': r'write model\.neck\.in_channels=\[24, 48, 96, 200\]',
    'model.neck.out_channels=32': r'model\.rpn_head\.in_channels=64 does not fit model\.neck.*write .*=32',
    'model.rpn_head.in_channels=32': r'model\.rpn_head\.in_channels=32 .*write model\.rpn_head\.in_channels=64',
    'model.roi_head.bbox_head.in_channels=32': r'model\.roi_head\.bbox_head\.in_channels=32 .*bbox_roi_extractor.*=64',
    'model.roi_head.mask_head.in_channels=32': r'model\.roi_head\.mask_head\.in_channels=32 .*=64',
    'model.roi_head.bbox_roi_extractor.out_channels=32': r'bbox_roi_extractor\.out_channels=32 does not fit',
    'model.roi_head.mask_roi_extractor.featmap_strides=[4,8,16,32,64,128]': r'strides=.* is for 6 maps.*gives 5',
    'model.rpn_head.anchor_generator.strides=[4,8]': r'model\.rpn_head has priors for 2 maps, but model\.neck gives 5',
    'model.rpn_head.anchor_generator.scales=0': r'model\.rpn_head\.anchor_generator gives no anchors',
    'model.neck.num_outs=3': r'model\.(neck|rpn_head)',
    'model.neck=None': r'model\.rpn_head\.in_channels=64 is for maps of one width.*put a neck between',
    'model.roi_head=None': r'model\.roi_head is missing: MaskRCNN needs it',
    'model.roi_head.bbox_head.num_classes=2': r'num_classes=2, but the data set has 4 classes.*write .*num_classes=4',
    'model.roi_head.bbox_head.num_classes=7': r'write model\.roi_head\.bbox_head\.num_classes=4',
    'model.roi_head.mask_head.num_classes=2': r'write model\.roi_head\.mask_head\.num_classes=4',
    # names
    'model.type=MaskRCN': r"model\.type='MaskRCN': there is no such model \(did you mean MaskRCNN\?\)",
    'model.backbone.type=mmvssm.VMambo': r'model\.backbone .*mmvssm\.VMambo is not in .*did you mean VMamba\?',
    'model.backbone.type=VMambo': r'model\.backbone .*did you mean VMamba\?',
    'model.neck.type=FPNN': r'model\.neck .*did you mean .*FPN\?',
    'model.rpn_head.loss_cls.type=CrossEntropyLos': r'model\.rpn_head\.loss_cls .*did you mean CrossEntropyLoss\?',
    'model.train_cfg.rcnn.assigner.type=MaxIoUAsigner': r'did you mean MaxIoUAssigner\?',
    'model.backbone.depht=3': r"model\.backbone .*unknown field 'depht'; allowed: arch",
    'model.neck.in_chanels=3': r"model\.neck .*FPN takes no 'in_chanels' \(did you mean in_channels\?\)",
    'model.roi_head.mask_head.num_clases=3': r"takes no 'num_clases' \(did you mean num_classes",
    'model.rpn_hed=3': r"model .*takes no 'rpn_hed' \(did you mean rpn_head\?\)",
    'model.backbone=None': r'model\.backbone=None is not supported; allowed: a dict',
    'model=3': r'model=3 is not supported; allowed: a dict',
    'model.backbone=VMamba': r"model\.backbone='VMamba' is not supported; allowed: a dict",
    'model.neck.0.in_channels=3': r"model\.neck .*FPN takes no '0'",
    'model.test_cfg.rcnn.nms.type=nmss': r"nms\.type='nmss' is not supported; allowed: nms, soft_nms",
    'model.test_cfg.rcnn.score_thr=x': r"score_thr='x' is not supported; allowed: a number, 0 or more",
    'model.test_cfg.rcnn.score_thr=-1': r'score_thr=-1 is not supported; allowed: a number, 0 or more',
    'model.test_cfg.rcnn.max_per_img=0': r'max_per_img=0 is not supported; allowed: 1 or more, or -1',
    'model.test_cfg.rpn.nms.iou_threshold=2': r'iou_threshold=2 is not supported; allowed: a number from 0 to 1',
    'model.data_preprocessor.mean=3': r'model\.data_preprocessor',
    'model.data_preprocessor.pad_size_divisor=0': r'pad_size_divisor=0 is not supported; allowed: 1 or more',
    'model.data_preprocessor.pad_size_divizor=0': r'did you mean pad_size_divisor\?',
    # backbone's own, see tests/backbones/test_settings.py for the rest
    'model.backbone.arch=tiny_s1l8x': r"model\.backbone .*arch='tiny_s1l8x' is not supported; allowed: ",
    'model.backbone.out_indices=(0,9)': r'model\.backbone .*out_indices=.*allowed: 0 to 3',
    'model.backbone.frozen_stages=all': r"model\.backbone .*frozen_stages='all'.*allowed: -1 or more",
    'model.backbone.init_cfg=x.pth': r"model\.backbone .*init_cfg='x\.pth'.*allowed: None or dict\(type='Pretrained'",
    'model.backbone.drop_path_rate=2': r'model\.backbone .*drop_path_rate=2',
    # hooks
    'default_hooks.checkpoint.intervall=3': r"AtomicCheckpointHook takes no 'intervall' \(did you mean interval\?\)",
    'default_hooks.checkpoint.interval=0': r'checkpoint\.interval=0 is not supported; allowed: 1 or more, or -1',
    'default_hooks.checkpoint.interval=x': r"checkpoint\.interval='x' is not supported",
    'default_hooks.checkpoint.max_keep_ckpts=0': r'max_keep_ckpts=0 is not supported; allowed: 1 or more, or -1',
    'default_hooks.checkpoint.max_keep_ckpt=2': r'did you mean max_keep_ckpts\?',
    'default_hooks.checkpoint.by_epoch=yes': r"by_epoch='yes' is not supported; allowed: True or False",
    'default_hooks.checkpoint.type=AtomicChekpointHook': r'no such hook \(did you mean AtomicCheckpointHook\?\)',
    'default_hooks.checkpoint.save_best=coco/box_map': r"save_best='coco/box_map' is no score.*coco/bbox_mAP",
    'default_hooks.logger.intervall=3': r"LoggerHook takes no 'intervall'",
    'default_hooks.logger.interval=x': r"logger\.interval='x' is not supported; allowed: 1 or more",
    'default_hooks.timr.type=IterTimerHok': r'default_hooks\.timr\.type=.*did you mean IterTimerHook\?',
    'default_hooks.visualization.drow=True': r"takes no 'drow' \(did you mean draw\?\)",
    'default_hooks=3': r'default_hooks=3 is not supported; allowed: a dict',
    "custom_hooks=[dict(type='x')]": r'custom_hooks=.* is not supported; allowed: a list of dicts',
    'custom_hooks.0.action=rise': r'custom_hooks\.0.*action.*raise.*warn',
    'custom_hooks.0.acton=warn': r"NaNWatchHook takes no 'acton' \(did you mean action\?\)",
    'custom_hooks.1.num_image=3': r"ContactSheetHook takes no 'num_image' \(did you mean num_images\?\)",
    'custom_hooks.0.type=mmvssm.NaNWatchHok': r'did you mean NaNWatchHook\?',
    # evaluation
    'val_evaluator.metric=bbx': r"val_evaluator\.metric='bbx' is not supported; allowed: of bbox, segm",
    'val_evaluator.metric=[bbox,sgm]': r'val_evaluator\.metric=.*allowed: of bbox, segm',
    'val_evaluator.metrik=bbox': r"CocoMetric takes no 'metrik' \(did you mean metric\?\)",
    'val_evaluator.type=CocoMetrik': r'no such metric \(did you mean CocoMetric\?\)',
    'val_evaluator=None': r'val_evaluator: missing or None; a config needs val_dataloader, val_cfg, val_evaluator',
    'val_dataloader=None': r'val_dataloader: missing or None',
    'val_cfg=None': r'val_cfg: missing or None',
    # optimizer and schedule
    'optim_wrapper.optimizer.lrr=1': r"AdamW takes no 'lrr' \(did you mean lr\?\)",
    'optim_wrapper.optimizer.lr=x': r"optimizer\.lr='x' is not supported; allowed: a number, 0 or more",
    'optim_wrapper.optimizer.lr=-1': r'optimizer\.lr=-1 is not supported',
    'optim_wrapper.optimizer.weight_decay=-1': r'weight_decay=-1 is not supported',
    'optim_wrapper.optimizer.type=AdamWW': r'no such optimizer \(did you mean AdamW\?\)',
    'optim_wrapper.optimizer.betas=0.9': r'optim_wrapper\.optimizer',
    'optim_wrapper.optimizer=AdamW': r"optim_wrapper\.optimizer='AdamW' is not supported; allowed: a dict",
    'optim_wrapper.clip_grad.max_nrm=1': r"takes no 'max_nrm' \(did you mean max_norm\?\)",
    'optim_wrapper.clip_grad.max_norm=-1': r'max_norm=-1 is not supported',
    'optim_wrapper.type=OptimWraper': r'did you mean OptimWrapper\?',
    'optim_wrapper.accumulative_counts=0': r'accumulative_counts=0 is not supported; allowed: 1 or more',
    'optim_wrapper.acumulative_counts=2': r'did you mean accumulative_counts\?',
    'optim_wrapper=None': r'optim_wrapper: missing or None',
    'param_scheduler.0.type=LinearLRR': r'no such parameter scheduler \(did you mean LinearLR\?\)',
    'param_scheduler.0.start_factr=1': r'did you mean start_factor\?',
    'param_scheduler.0.start_factor=7': r'param_scheduler\.0',
    'param_scheduler.0.begin=-5': r'param_scheduler\.0\.begin=-5 is not supported; allowed: 0 or more',
    'param_scheduler.0.end=0': r'param_scheduler\.0\.end=0 is not supported',
    'train_cfg.max_epoch=3': r'did you mean max_epochs\?',
    'train_cfg.max_epochs=0': r'train_cfg\.max_epochs=0 is not supported; allowed: 1 or more',
    'train_cfg.max_epochs=x': r"train_cfg\.max_epochs='x' is not supported",
    'train_cfg.max_epochs=1.5': r'train_cfg\.max_epochs=1\.5 is not supported',
    'train_cfg.max_epochs=True': r'train_cfg\.max_epochs=True is not supported',
    'train_cfg.val_interval=0': r'train_cfg\.val_interval=0 is not supported; allowed: 1 or more',
    'train_cfg.val_begin=0': r'train_cfg\.val_begin=0 is not supported',
    'train_cfg.type=EpochTrainLoop': r'no such loop \(did you mean EpochBasedTrainLoop\?\)',
    'train_cfg=3': r'train_cfg=3 is not supported; allowed: a dict or None',
    'train_cfg=None': r'train_cfg: missing or None',
    # data
    'train_dataloader=None': r'train_dataloader: missing or None',
    'train_dataloader.batch_size=0': r'train_dataloader\.batch_size=0 is not supported; allowed: 1 or more',
    'train_dataloader.batch_size=x': r"train_dataloader\.batch_size='x' is not supported",
    'train_dataloader.batch_size=2.0': r'train_dataloader\.batch_size=2\.0 is not supported',
    'train_dataloader.num_workers=-1': r'train_dataloader\.num_workers=-1 is not supported; allowed: 0 or more',
    'train_dataloader.batchsize=2': r'did you mean batch_size\?',
    'val_dataloader.num_worker=2': r'did you mean num_workers\?',
    'train_dataloader.persistent_workers=perhaps': r"persistent_workers='perhaps' is not supported; allowed: True or",
    'train_dataloader.dataset.type=CocoDatset': r'no such dataset \(did you mean CocoDataset\?\)',
    'train_dataloader.dataset.ann_fil=x': r"CocoDataset takes no 'ann_fil' \(did you mean ann_file\?\)",
    'train_dataloader.dataset.pipeline.0.type=LoadImage': r'pipeline\.0 .*LoadImage is not in',
    'train_dataloader.dataset.pipeline.2.scal=3': r"pipeline\.2 .*takes no 'scal' \(did you mean scale\?\)",
    'train_dataloader.dataset.pipeline.3.prob=7': r'pipeline\.3 \(RandomFlip\): prob',
    'train_dataloader.dataset.pipeline.3.prob=[0.9,0.9]': r'pipeline\.3 \(RandomFlip\)',
    'val_dataloader.dataset.pipeline.1.type=Resise': r'val_dataloader\.dataset\.pipeline\.1 .*did you mean Resize\?',
    'train_dataloader.sampler.type=DefaultSample': r'did you mean DefaultSampler\?',
    'train_dataloader.sampler.shuffel=True': r'did you mean shuffle\?',
    'train_dataloader.batch_sampler.type=AspectRatioBatchSample': r'did you mean AspectRatioBatchSampler\?',
    # the run
    'randomness.seed=x': r"randomness\.seed='x' is not supported; allowed: None, or 0 or more",
    'randomness.seed=-1': r'randomness\.seed=-1 is not supported',
    'randomness.sed=1': r'randomness\.sed: there is no such setting; allowed: seed, diff_rank_seed, deterministic',
    'randomness.deterministic=yes': r"randomness\.deterministic='yes' is not supported",
    'launcher=pytorc': r"launcher='pytorc' is not supported; allowed: none, pytorch, slurm, mpi",
    'resume=perhaps': r"resume='perhaps' is not supported; allowed: True or False",
    'load_from=3': r'load_from=3 is not supported; allowed: a path or None',
    'log_level=LOUD': r"log_level='LOUD' is not supported; allowed: DEBUG, INFO",
    'log_processor.window_size=x': r"window_size='x' is not supported",
    'env_cfg.mp_cfg.mp_start_method=frk': r"mp_start_method='frk' is not supported; allowed: fork, spawn, forkserver",
    'env_cfg.mp_cfg.opencv_threads=0': r'env_cfg\.mp_cfg\.opencv_threads: there is no such setting',
    'env_cfg.cudnn_benchmrk=True': r'env_cfg\.cudnn_benchmrk: there is no such setting',
    'visualizer.type=DetVisualizer': r'no such visualizer',
    'auto_scale_lr.base_batch_size=0': r'auto_scale_lr\.base_batch_size=0 is not supported',
    'auto_scale_lr.enabled=True': r'auto_scale_lr\.enabled: there is no such setting',
    'optim_wraper.optimizer.lr=1': r"the config has no 'optim_wraper' \(did you mean optim_wrapper\?\)",
    'modle.backbone.with_cp=True': r"the config has no 'modle' \(did you mean model\?\)",
    'nonsense=3': r"--cfg-options nonsense: the config has no 'nonsense'",
    'model..backbone=3': r'a name between two dots is missing',
    'model': r'--cfg-options model: expected KEY=VALUE',
    '=3': r'expected KEY=VALUE',
    'model.backbone.depths=[1,1,2,1': r'--cfg-options .*[Bb]rackets',
    'param_scheduler.9.begin=3': r'--cfg-options param_scheduler\.9\.begin',
}
SEGMENTOR = {
    'model.decode_head.in_channels=[16,32,48,99]': r'write model\.decode_head\.in_channels=\[24, 48, 96, 192\]',
    'model.decode_head.in_channels=96': r'write model\.decode_head\.in_channels=\[24, 48, 96, 192\]',
    'model.decode_head.in_index=7': r'in_index=7 asks for map 7, but model\.backbone .* gives 4 maps; allowed: 0 to 3',
    'model.decode_head.in_index=x': r"in_index=x asks for map 'x'",
    'model.decode_head.in_index=(0,1)': r'write model\.decode_head\.in_channels=\[24, 48\]',
    'model.backbone.out_indices=(0,1)': r'in_index=.* asks for map 2.*gives 2 maps; allowed: 0 to 1',
    'model.auxiliary_head.in_channels=97': r'write model\.auxiliary_head\.in_channels=96',
    'model.auxiliary_head.in_index=5': r'model\.auxiliary_head\.in_index=5 asks for map 5',
    'model.decode_head.num_classes=3': r'num_classes=3, but the data set has 5 classes',
    'model.auxiliary_head.num_classes=3': r'write model\.auxiliary_head\.num_classes=5',
    'model.decode_head.channels=x': r'model\.decode_head \(UPerHead\)',
    'model.decode_head.pool_scales=0': r'model\.decode_head \(UPerHead\)',
    'model.decode_head.loss_decode.loss_weigt=1': r"loss_decode .*takes no 'loss_weigt' \(did you mean",
    'model.decode_head.norm_cfg.type=BNN': r'model\.decode_head',
    'model.decode_head.type=UperHead': r'did you mean UPerHead\?',
    'model.test_cfg.mode=slid': r"model\.test_cfg\.mode='slid' is not supported; allowed: whole, slide",
    'model.test_cfg.mode=slide': r"model\.test_cfg\.mode='slide' needs model\.test_cfg\.crop_size and",
    'model.data_preprocessor.size=(0,0)': r'model\.data_preprocessor\.size=\(0, 0\) is not supported',
    'train_dataloader.dataset.pipeline.3.crop_size=(0,0)': r'pipeline\.3 \(RandomCrop\): .*crop_size\[0\] > 0',
    'train_dataloader.batch_size=1': r'batch_size=1 is too few .*BatchNorm\n.*2 or more',
    "val_evaluator.iou_metrics=['mIoX']": r'iou_metrics=.*mIoX.* is not supported; allowed: of mIoU, mDice, mFscore',
    'val_evaluator.iou_metrics=[]': r'iou_metrics=\[\] is not supported',
    'default_hooks.checkpoint.save_best=mIOU': r"save_best='mIOU' is no score.*allowed: auto, aAcc, mAcc, mIoU",
    'train_cfg.max_iters=0': r'train_cfg\.max_iters=0 is not supported',
    'train_cfg.max_iter=5': r'did you mean max_iters\?',
    'train_cfg.max_epochs=5': r"IterBasedTrainLoop takes no 'max_epochs'",
}
DENSE = {
    'model.bbox_head.in_channels=64': r'model\.bbox_head\.in_channels=64 does not fit model\.neck.*write .*=256',
    'model.bbox_head.num_classes=3': r'model\.bbox_head\.num_classes=3, but the data set has 80 classes',
    'model.neck.out_channels=128': r'model\.bbox_head\.in_channels=256 does not fit',
    'model.bbox_head.anchor_generator.strides=[8,16]': r'model\.bbox_head has priors for 2 maps',
}
QUERIES = {
    'model.neck.in_channels=[96,192,384,768]': r'model\.neck\.in_channels=\[96.*write model\.neck\.in_channels=\[192',
    'model.neck.num_outs=5': r'num_feature_levels=4, but model\.neck gives 5 maps',
    'model.encoder.layer_cfg.self_attn_cfg.num_levels=3': r'self_attn_cfg\.num_levels=3.*write 4',
    'model.decoder.layer_cfg.cross_attn_cfg.num_levels=5': r'cross_attn_cfg\.num_levels=5.*write 4',
    'model.neck.out_channels=128': r'model\.neck gives \[128.*the encoder has embed_dims=256',
    'model.bbox_head.embed_dims=128': r'bbox_head\.embed_dims=128, but the encoder.*write 256',
    'model.num_queries=3': r'max_per_img=300 is more than 3 queries of 80 classes can find: write 240',
    'model.bbox_head.num_classes=3': r'model\.bbox_head\.num_classes=3, but the data set has 80 classes',
}
MASKS = {
    'model.panoptic_head.in_channels=[192,384,768]': r'panoptic_head\.in_channels.*write .*=\[96, 192, 384, 768\]',
    'model.panoptic_head.num_queries=1': r'max_per_image=100 is more than 1 queries of 80 classes.*write 80',
    'model.panoptic_head.num_things_classes=3': r'num_things_classes \+ num_stuff_classes=3, but .* 80 classes',
}
TABLES = {'d': DETECTOR, 's': SEGMENTOR, 'r': DENSE, 'q': QUERIES, 'm': MASKS}
CASES = [(task, one) for task, table in TABLES.items() for one in table]


@pytest.fixture(scope='module')
def read():
    return {task: config_files.read(configs.find(name)) for task, name in NAMES.items()}


def look(cfg: Config, *given: str) -> None:
    """What `mmvssm train` does with a config before it reads data."""
    cfg = Config(copy.deepcopy(cfg._cfg_dict))
    config_files.override(cfg, arguments.options(list(given)))
    preflight.check(cfg, training=True)


@pytest.mark.parametrize(('task', 'given'), CASES, ids=[f'{task}-{one}' for task, one in CASES])
def test_wrong(task, given, read):
    with pytest.raises(UsageError) as caught:
        look(read[task], given)
    message = str(caught.value)
    expected = TABLES[task][given]
    assert re.search(expected, message, re.DOTALL), message
    assert len(message.splitlines()) <= 2
    assert len(message) < 900


SLIDES = {
    ('(65,33)', '(66,20)'): r'stride=\(66, 20\) exceeds crop_size=\(65, 33\): pixels between two windows',
    ('64', '(32,32)'): r'crop_size=64 is not supported; allowed: \(height, width\)',
    ('(64,64)', '(32,0)'): r'stride=\(32, 0\) is not supported',
}


@pytest.mark.parametrize('sizes', SLIDES, ids=' by '.join)
def test_windows_that_cannot_be(sizes, read):
    given = ('mode=slide', f'crop_size={sizes[0]}', f'stride={sizes[1]}')
    with pytest.raises(UsageError, match=SLIDES[sizes]):
        look(read['s'], *(f'model.test_cfg.{one}' for one in given))


def test_windows_of_odd_sides_side_by_side(read):
    look(read['s'], *(f'model.test_cfg.{one}' for one in ('mode=slide', 'crop_size=(65,33)', 'stride=(65,33)')))


RIGHT = [
    'model.backbone.out_indices=[0,1,2,3]',
    'default_hooks.checkpoint.interval=-1',
    'default_hooks.checkpoint.save_best=coco/bbox_mAP_50',
    'default_hooks.checkpoint.save_best=auto',
    'default_hooks.checkpoint.published_keys=[meta,state_dict]',
    'default_hooks.logger=None',
    'param_scheduler=None',
    'custom_hooks=None',
    'optim_wrapper.clip_grad=None',
    'optim_wrapper.optimizer.fused=False',
    'randomness.seed=None',
    'train_dataloader.prefetch_factor=4',
    'train_cfg.dynamic_intervals=[(5,2)]',
    'model.test_cfg.rcnn.nms.type=soft_nms',
    'model.neck.start_level=0',
]


@pytest.mark.parametrize('given', RIGHT)
def test_right(given, read):
    look(read['d'], given)


@pytest.mark.parametrize('name', configs.names())
def test_every_config_passes(name):
    preflight.check(config_files.read(configs.find(name)), training=True)


FILES = {
    'a syntax error': ('model = dict(', r'c\.py, line 1: SyntaxError'),
    'a name that is not there': ('model = dict(type=Mask)', r"c\.py.*: NameError: name 'Mask' is not defined"),
    'an attribute that is not there': ("x = 'a'.nothing", r"c\.py.*AttributeError: 'str' object has no attribute"),
    'a division by zero': ('x = 1\ny = 1 / 0', r'c\.py, line 2.*ZeroDivisionError: division by zero'),
    'an index too high': ('x = [][1]', r'c\.py.*IndexError: list index out of range'),
    'an error of its own': ("raise RuntimeError('not on Sundays')", r'c\.py.*RuntimeError: not on Sundays'),
    'a file that is not there': ("open('/nowhere/at/all')", r"c\.py.*No such file or directory: '/nowhere/at/all'"),
    'nothing': ('', r'c\.py is no config of a detector or segmentor: it has no model=dict'),
    'no model': ('x = 3', r'c\.py is no config of a detector'),
    'a base that is not there': ("_base_ = ['nowhere.py']", r'c\.py.*nowhere\.py'),
    'a package that is not there': ("_base_ = ['mmnothing::a.py']", r'c\.py.*mmnothing'),
    'a config that no package has': (
        "_base_ = ['mmvssm::mask_rcnn_vmmba_t']",
        r'no config mask_rcnn_vmmba_t.*did you mean',
    ),
    'an import that is not there': (
        "custom_imports = dict(imports=['nowhere_at_all'], allow_failed_imports=False)",
        r'c\.py.*nowhere_at_all',
    ),
    'a name nearly a setting': (
        "_base_ = ['mmvssm::demo/mask_rcnn_vmamba_nuclei.py']\ndefault_hook = dict()",
        r'default_hook is no setting \(did you mean default_hooks\?\)',
    ),
}


@pytest.mark.parametrize('what', FILES)
def test_a_file_with(what, tmp_path):
    text, expected = FILES[what]
    path = tmp_path / 'c.py'
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        preflight.check(config_files.read(path), training=True)
    assert re.search(expected, str(caught.value), re.DOTALL), str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


def test_a_broken_base_is_named(tmp_path):
    (tmp_path / 'base.py').write_text('x = (\n')
    (tmp_path / 'c.py').write_text("_base_ = ['base.py']\n")
    with pytest.raises(UsageError, match=r'base\.py'):
        config_files.read(tmp_path / 'c.py')


@pytest.mark.parametrize('base', ['mmdet::_base_/models/mask-rcnn_r50_fpn.py', 'mmseg::_base_/models/upernet_r50.py'])
def test_configs_of_packages_as_bases(base, tmp_path):
    (tmp_path / 'c.py').write_text(f"_base_ = ['{base}']\n")
    assert config_files.read(tmp_path / 'c.py').model.backbone.depth == 50


@pytest.mark.parametrize('name', ['mask_rcnn_vmamba_t', 'mask_rcnn_vmamba_t.py', 'demo/mask_rcnn_vim_nuclei.py'])
def test_configs_of_this_package_as_bases(name, tmp_path):
    (tmp_path / 'c.py').write_text(f"_base_ = ['mmvssm::{name}']\nmodel = dict(backbone=dict(init_cfg=None))\n")
    cfg = config_files.read(tmp_path / 'c.py')
    assert cfg.model.backbone.init_cfg is None
    preflight.check(cfg, training=True)


def test_looking_changes_neither_config_nor_random_numbers(read):
    import torch

    cfg = Config(copy.deepcopy(read['d']._cfg_dict))
    before, state = cfg.pretty_text, torch.get_rng_state()
    preflight.check(cfg, training=True)
    assert cfg.pretty_text == before
    assert torch.equal(torch.get_rng_state(), state)


def test_other_backbones_are_left_alone(tmp_path):
    (tmp_path / 'c.py').write_text("_base_ = ['mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py']\n")
    cfg = config_files.read(tmp_path / 'c.py')
    cfg.model.backbone.init_cfg = None
    preflight.check(cfg, training=True)
    assert isinstance(cfg.model, ConfigDict)
