"""What people expect of a training, by one option each.

Averaged weights, early stopping, the best checkpoint, batches gathered from small ones: all of it is mmengine's, and
gets into a config here, with values that suit its scores.
"""

from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

from mmvssm.errors import UsageError
from mmvssm.openmmlab.preflight.places import matching

AUTO = 'auto'
# the average begins as one over the last tenth of the run, until its momentum has come down to the one wanted
GAMMA = 10
NO_PROGRESS = 1e-6  # mmengine takes a score that stays for progress, and by default no step below 0.1 for any
# evaluator -> the score by which its models are told apart
SCORES = {
    'CocoPanopticMetric': 'coco_panoptic/PQ',
    'LVISMetric': 'lvis/bbox_AP',
    'VOCMetric': 'pascal_voc/mAP',
    'TopAccuracy': 'accuracy/top1',
    'MeanCosine': 'distillation/cosine',
}


@dataclass(frozen=True)
class Helps:
    """What a training is to have beside its config.

    Attributes:
        ema: momentum of averaged weights, which are validated and saved; None for none.
        early_stopping: validations without progress after which the run ends; None for never.
        save_best: the score by which the best checkpoint is kept, 'auto' for the evaluation's main one; None for none.
        accumulate: batches whose gradients make one update.
    """

    ema: float | None = None
    early_stopping: int | None = None
    save_best: str | None = None
    accumulate: int | None = None


def add(cfg: Config, helps: Helps) -> None:
    """Put them into a config.

    Raises:
        UsageError: a value that cannot be; the config has the hook already; there is no main score.
    """
    if helps.ema is not None:
        _add_ema(cfg, helps.ema)
    if helps.accumulate is not None:
        cfg.merge_from_dict({'optim_wrapper.accumulative_counts': helps.accumulate})
    wanted = helps.save_best or (AUTO if helps.early_stopping is not None else None)
    if wanted is not None:
        score = main_score(cfg) if wanted == AUTO else wanted
        best = {'default_hooks.checkpoint.save_best': score, 'default_hooks.checkpoint.rule': _rule(score)}
        cfg.merge_from_dict(best)
        if helps.early_stopping is not None:
            _add_early_stopping(cfg, helps.early_stopping, score)


def _add_ema(cfg: Config, momentum: float) -> None:
    if not 0 < momentum < 1:
        raise UsageError(f'--ema {momentum}: allowed: a number between 0 and 1, such as 0.0002')
    _add_hook(cfg, '--ema', dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=momentum, gamma=GAMMA))


def _add_early_stopping(cfg: Config, patience: int, score: str) -> None:
    if patience < 1:
        raise UsageError(f'--early-stopping {patience}: allowed: 1 or more validations')
    hook = dict(type='EarlyStoppingHook', monitor=score, rule=_rule(score), patience=patience, min_delta=NO_PROGRESS)
    _add_hook(cfg, '--early-stopping', hook)


def _rule(score: str) -> str:
    """Which values are better: mmengine knows only the names of its own packages' scores."""
    return 'less' if 'loss' in score.lower() or 'error' in score.lower() else 'greater'


def _add_hook(cfg: Config, flag: str, hook: dict[str, Any]) -> None:
    hooks = list(cfg.get('custom_hooks') or [])
    for i, one in enumerate(hooks):
        if isinstance(one, dict) and str(one.get('type')).rpartition('.')[2] == hook['type']:
            raise UsageError(f'{flag}: the config has custom_hooks.{i}, {hook["type"]}, already')
    cfg.custom_hooks = [*hooks, hook]


def main_score(cfg: Config) -> str:
    """The score of a config's evaluation that tells better models from worse: box AP, mIoU, ... by its evaluator.

    Raises:
        UsageError: the evaluation has none that is known here.
    """
    evaluators = [node for _, node in matching(cfg, 'val_evaluator.*') if isinstance(node, dict)]
    for node in evaluators:
        name = str(node.get('type')).rpartition('.')[2]
        if (score := _score(name, node)) is not None:
            prefix = node.get('prefix')
            return score if prefix is None else f'{prefix}/{score.rpartition("/")[2]}'
    known = ', '.join(str(node.get('type')) for node in evaluators) or 'no evaluation'
    raise UsageError(f'which score is to be the best? {known} has no usual one here: give it by --save-best NAME')


def _score(evaluator: str, node: dict[str, Any]) -> str | None:
    if evaluator == 'CocoMetric':
        kinds = node.get('metric', 'bbox')
        return f'coco/{kinds if isinstance(kinds, str) else kinds[0]}_mAP'
    if evaluator == 'IoUMetric':
        kinds = node.get('iou_metrics', ['mIoU'])
        return kinds if isinstance(kinds, str) else kinds[0]
    return SCORES.get(evaluator)
