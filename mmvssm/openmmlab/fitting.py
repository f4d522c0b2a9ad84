"""Full-size recipes on the embedded images: minutes in place of days."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmvssm import configs
from mmvssm.openmmlab.layouts.layout import datasets
from mmvssm.openmmlab.tasks import task_of

SIDE = 256  # of the embedded images
ITERATIONS = 200
IMAGES = 48
QUERIES = 100
SHORT_SIDE = {'mmdet': 800, 'mmseg': 512, 'mmengine': SIDE}  # of images in full-size recipes; crops are small
SIZES = ('scale', 'scales', 'crop_size', 'size', 'img_scale', 'stride')
STEP = 32


def fit_to_embedded(cfg: Config, path: Path) -> str | None:
    """Let a recipe for COCO or ADE20K train on embedded images: image sizes, schedule and initial weights.

    Returns what was changed, in a line; None for a config that is made for them (configs/demo).
    """
    if configs.FOLDER / 'demo' in path.resolve().parents or path.resolve().parent == configs.FOLDER / 'demo':
        return None
    factor = SIDE / SHORT_SIDE[task_of(cfg).scope]
    for part in _sized(cfg):
        _scale(part, factor)
    _shorten(cfg)
    if cfg.model.get('as_two_stage'):  # DINO: its queries are tokens, of which a small image has few
        cfg.model.num_queries = min(cfg.model.num_queries, QUERIES)
        cfg.model.test_cfg.max_per_img = min(cfg.model.test_cfg.max_per_img, QUERIES)
    backbone = cfg.model.get('backbone') or {}
    for key in ('init_cfg', 'pretrained'):
        if key in backbone:
            backbone[key] = None
    return (
        f'fitted to small images: sizes x {factor:.2g}, {ITERATIONS} iterations, from scratch '
        '(--cfg-options can change each: train_cfg.max_iters, model.backbone.init_cfg.checkpoint)'
    )


def _sized(cfg: Config) -> Iterator[Any]:
    """The parts of a config that name sizes of images."""
    for split in ('train', 'val', 'test'):
        for dataset in datasets(cfg, split):
            yield dataset.get('pipeline') or []
        loader = cfg.get(f'{split}_dataloader') or {}
        outer = loader.get('dataset', {})
        if 'dataset' in outer:
            yield outer.get('pipeline') or []
    yield cfg.get('tta_pipeline') or []
    yield cfg.model.get('data_preprocessor') or {}
    yield cfg.model.get('test_cfg') or {}


def _scale(node: Any, factor: float) -> None:
    if isinstance(node, list | tuple):
        for item in node:
            _scale(item, factor)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key in SIZES:
            node[key] = _scaled(value, factor)
        elif key != 'scale_factor':
            _scale(value, factor)


def _scaled(value: Any, factor: float) -> Any:
    """A size, a pair or a list of pairs; numbers too small to be one stay."""
    if isinstance(value, list | tuple):
        return type(value)(_scaled(one, factor) for one in value)
    if type(value) is int and value >= 4 * STEP:
        return max(STEP, round(value * factor / STEP) * STEP)
    return value


def _shorten(cfg: Config) -> None:
    """The schedule: a warm-up and a cosine over few iterations, one evaluation, one checkpoint at its end."""
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=ITERATIONS, val_interval=ITERATIONS)
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
    cfg.train_dataloader.batch_size = min(cfg.train_dataloader.batch_size, 2)
    if 'num_batch_per_epoch' in cfg.train_dataloader:
        cfg.train_dataloader.pop('num_batch_per_epoch')
    cfg.param_scheduler = [
        dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=ITERATIONS // 10),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=ITERATIONS // 10, end=ITERATIONS, T_max=ITERATIONS),
    ]
    hooks = cfg.setdefault('default_hooks', {})
    hooks.setdefault('checkpoint', dict(type='mmvssm.AtomicCheckpointHook')).update(interval=ITERATIONS, by_epoch=False)
    hooks.setdefault('logger', dict(type='LoggerHook')).update(interval=10)
    cfg.log_processor = dict(type='LogProcessor', window_size=10, by_epoch=False)
