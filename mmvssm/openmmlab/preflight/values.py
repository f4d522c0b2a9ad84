"""What may stand where, of the settings that are mmengine's: one line a field."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from mmvssm.errors import UsageError

from .places import matching, meant


@dataclass(frozen=True)
class Allowed:
    """What a field takes, in words and as a test."""

    words: str
    test: Callable[[Any], bool]


def _int(least: int, words: str, *also: Any) -> Allowed:
    return Allowed(words, lambda v: (type(v) is int and v >= least) or any(v is a or v == a for a in also))


def _among(*names: Any) -> Allowed:
    return Allowed(', '.join(map(str, names)), lambda v: v in names)


def _each_among(*names: str) -> Allowed:
    one = _among(*names)
    return Allowed(
        f'of {one.words}', lambda v: v not in ([], ()) and all(map(one.test, v if isinstance(v, list | tuple) else [v]))
    )


def _number(least: float, most: float, words: str, *also: Any) -> Allowed:
    def test(value: Any) -> bool:
        if any(value is a for a in also):
            return True
        return isinstance(value, int | float) and type(value) is not bool and least <= value <= most

    return Allowed(words, test)


def _pair_of(one: Allowed, words: str) -> Allowed:
    def test(value: Any) -> bool:
        return value is None or (isinstance(value, list | tuple) and len(value) == 2 and all(map(one.test, value)))

    return Allowed(words, test)


def _is_str(value: Any) -> bool:
    return isinstance(value, str)


POSITIVE = _int(1, '1 or more')
BOOL = Allowed('True or False', lambda v: type(v) is bool)
TABLE = Allowed('a dict', lambda v: isinstance(v, dict))
TABLE_OR_NONE = Allowed('a dict or None', lambda v: v is None or isinstance(v, dict))
LEVELS = _among('DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL', 'NOTSET')

FIELDS = {
    'model': TABLE,
    'train_cfg': TABLE_OR_NONE,
    'train_dataloader': TABLE_OR_NONE,
    'val_dataloader': TABLE_OR_NONE,
    'test_dataloader': TABLE_OR_NONE,
    'optim_wrapper': TABLE_OR_NONE,
    'default_hooks': TABLE_OR_NONE,
    'custom_hooks': Allowed(
        'a list of dicts',
        lambda v: v is None or (isinstance(v, list | tuple) and not any(map(_is_str, v))),
    ),
    'env_cfg': TABLE,
    'model.backbone': TABLE,
    'load_from': Allowed('a path or None', lambda v: v is None or isinstance(v, str)),
    'randomness': TABLE,
    'train_cfg.max_epochs': POSITIVE,
    'train_cfg.max_iters': POSITIVE,
    'train_cfg.val_interval': POSITIVE,
    'train_cfg.val_begin': POSITIVE,
    'train_cfg.by_epoch': BOOL,
    'optim_wrapper.accumulative_counts': POSITIVE,
    'optim_wrapper.optimizer': TABLE,
    'optim_wrapper.optimizer.lr': _number(0, math.inf, 'a number, 0 or more'),
    'optim_wrapper.optimizer.weight_decay': _number(0, math.inf, 'a number, 0 or more'),
    'optim_wrapper.clip_grad': TABLE_OR_NONE,
    'optim_wrapper.clip_grad.max_norm': _number(0, math.inf, 'a number, 0 or more'),
    'default_hooks.logger.interval': POSITIVE,
    'default_hooks.checkpoint.interval': _int(1, '1 or more, or -1 for never', -1),
    'default_hooks.checkpoint.max_keep_ckpts': _int(1, '1 or more, or -1 for all', -1),
    'default_hooks.checkpoint.by_epoch': BOOL,
    'default_hooks.visualization.interval': POSITIVE,
    'param_scheduler.*.begin': _int(0, '0 or more'),
    'param_scheduler.*.end': _int(1, '1 or more, or inf', math.inf),
    'model.data_preprocessor.pad_size_divisor': POSITIVE,
    'model.data_preprocessor.size': _pair_of(POSITIVE, 'None, or two numbers, 1 or more'),
    'log_level': LEVELS,
    'launcher': _among('none', 'pytorch', 'slurm', 'mpi'),
    'resume': BOOL,
    'work_dir': Allowed('a path', lambda v: isinstance(v, str)),
    'randomness.seed': _int(0, 'None, or 0 or more', None),
    'randomness.deterministic': BOOL,
    'randomness.diff_rank_seed': BOOL,
    'env_cfg.mp_cfg.mp_start_method': _among('fork', 'spawn', 'forkserver'),
    'auto_scale_lr.enable': BOOL,
    'auto_scale_lr.base_batch_size': POSITIVE,
    'log_processor.window_size': POSITIVE,
    **{
        f'{split}_dataloader.{field}': allowed
        for split in ('train', 'val', 'test')
        for field, allowed in (
            ('batch_size', POSITIVE),
            ('num_workers', _int(0, '0 or more')),
            ('persistent_workers', BOOL),
            ('pin_memory', BOOL),
            ('drop_last', BOOL),
        )
    },
}
SCORE = _number(0, 1, 'a number from 0 to 1')
for _stage in ('', '.rpn', '.rcnn'):
    FIELDS |= {
        f'model.test_cfg{_stage}.score_thr': _number(0, math.inf, 'a number, 0 or more'),
        f'model.test_cfg{_stage}.max_per_img': _int(1, '1 or more, or -1 for all', -1),
        f'model.test_cfg{_stage}.nms.iou_threshold': SCORE,
        f'model.test_cfg{_stage}.nms.type': _among('nms', 'soft_nms', 'nms_match', 'nms_rotated', 'nms_quadri'),
    }
# the names inside of tables that no class describes
KEYS = {
    'randomness': ('seed', 'diff_rank_seed', 'deterministic'),
    'env_cfg': ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'),
    'env_cfg.mp_cfg': ('mp_start_method', 'opencv_num_threads'),
    'auto_scale_lr': ('enable', 'base_batch_size'),
}
# (class, field): what the class would look at only when it is used
OF_CLASSES = {
    ('IoUMetric', 'iou_metrics'): _each_among('mIoU', 'mDice', 'mFscore'),
    ('CocoMetric', 'metric'): _each_among('bbox', 'segm', 'proposal', 'proposal_fast'),
    ('EncoderDecoder', 'test_cfg.mode'): _among('whole', 'slide'),
    ('CascadeEncoderDecoder', 'test_cfg.mode'): _among('whole', 'slide'),
}
TOGETHER = {
    'train': ('train_dataloader', 'train_cfg', 'optim_wrapper'),
    'val': ('val_dataloader', 'val_cfg', 'val_evaluator'),
    'test': ('test_dataloader', 'test_cfg', 'test_evaluator'),
}
RUNNER = {name for name in Runner.__init__.__annotations__ if name != 'return'} | {'default_scope', 'custom_imports'}


def check(cfg: Config, training: bool) -> None:
    """Every field of the table that a config has, names at its top that are nearly a setting's, and what is missing."""
    _check_names(cfg)
    for path, allowed in FIELDS.items():
        for place, value in matching(cfg, path):
            require(place, value, allowed)
    for pattern in ('model', 'val_evaluator.*', 'test_evaluator.*'):
        for place, node in matching(cfg, pattern):
            for (name, field), allowed in OF_CLASSES.items():
                if isinstance(node, dict) and str(node.get('type', '')).rpartition('.')[2] == name:
                    for inside, value in matching(node, field):
                        require(f'{place}.{inside}', value, allowed)
    for path, names in KEYS.items():
        for place, node in matching(cfg, path):
            for key in node or ():
                if key not in names:
                    raise UsageError(f'{place}.{key}: there is no such setting; allowed: {", ".join(names)}')
    _check_slides(cfg)
    _check_sets(cfg, training)
    _check_best(cfg)


def require(place: str, value: Any, allowed: Allowed) -> None:
    """A field holds what it may.

    Raises:
        UsageError: it does not.
    """
    try:
        fits = allowed.test(value)
    except TypeError:  # no way to compare
        fits = False
    if not fits:
        raise UsageError(f'{place}={repr(value)[:80]} is not supported; allowed: {allowed.words}')


def _check_names(cfg: Config) -> None:
    """A name at the top that a hair parts from a setting's is one mistyped: a setting that would be read by nobody."""
    for name in cfg:
        if name not in RUNNER and (words := meant(name, RUNNER, cutoff=0.92)):
            raise UsageError(f'{name} is no setting{words}')


def _check_slides(cfg: Config) -> None:
    test_cfg = cfg.model.get('test_cfg') or {}
    if not isinstance(test_cfg, dict) or test_cfg.get('mode') != 'slide':
        return
    if not {'crop_size', 'stride'} <= set(test_cfg):
        raise UsageError("model.test_cfg.mode='slide' needs model.test_cfg.crop_size and model.test_cfg.stride")
    for key in ('crop_size', 'stride'):
        pair = test_cfg[key]
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(type(n) is int and n > 0 for n in pair):
            raise UsageError(f'model.test_cfg.{key}={pair!r} is not supported; allowed: (height, width), from 1')
    if any(step > side for step, side in zip(test_cfg['stride'], test_cfg['crop_size'])):
        raise UsageError(
            f'model.test_cfg.stride={tuple(test_cfg["stride"])} exceeds crop_size={tuple(test_cfg["crop_size"])}: '
            'pixels between two windows would have no prediction'
        )


def _check_sets(cfg: Config, training: bool) -> None:
    for kind in ('train', 'val') if training else ('test',):
        names = TOGETHER[kind]
        there = [name for name in names if cfg.get(name) is not None]
        missing = [name for name in names if cfg.get(name) is None]
        if missing and (there or kind != 'val'):
            without = ', or none of the three to train without validation' if kind == 'val' else ''
            raise UsageError(f'{" and ".join(missing)}: missing or None; a config needs {", ".join(names)}{without}')


def _check_best(cfg: Config) -> None:
    """The score that the best checkpoint is chosen by is one that the evaluation has."""
    scores = {name for _, node in matching(cfg, 'val_evaluator.*') for name in _scores(node)}
    for place, value in matching(cfg, 'default_hooks.checkpoint.save_best'):
        for name in value if isinstance(value, list | tuple) else [value]:
            if scores and name not in (None, 'auto', *scores):
                allowed = ', '.join(sorted(scores))
                raise UsageError(f'{place}={name!r} is no score of this evaluation; allowed: auto, {allowed}')


def _scores(evaluator: Any) -> list[str]:
    """The names of an evaluator's scores; none where they are not known."""
    name = str(evaluator.get('type', '')).rpartition('.')[2] if isinstance(evaluator, dict) else ''
    if name == 'CocoMetric' and not evaluator.get('classwise'):
        kinds = evaluator.get('metric', 'bbox')
        ends = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
        recalls = ('AR@100', 'AR@300', 'AR@1000', 'AR_s@1000', 'AR_m@1000', 'AR_l@1000')
        kinds = [kinds] if isinstance(kinds, str) else kinds
        found = [f'{kind}_{end}' for kind in kinds for end in ends] + list(recalls)
        found += evaluator.get('metric_items') or []
        return [f'{evaluator.get("prefix") or "coco"}/{one}' for one in found]
    if name == 'IoUMetric':
        own = {'mIoU': ['mIoU'], 'mDice': ['mDice'], 'mFscore': ['mFscore', 'mPrecision', 'mRecall']}
        found = [one for kind in evaluator.get('iou_metrics', ['mIoU']) for one in own.get(kind, [])]
        prefix = evaluator.get('prefix')
        return [f'{prefix}/{one}' if prefix else one for one in ('aAcc', 'mAcc', *found)]
    return []
