"""COCO's average precision by pycocotools, or by faster-coco-eval: in less time, equal to the last digit printed.

(pycocotools adds 2^-52 to the denominator of a precision, which moves the mean by less than 1e-15.)

`val_evaluator=dict(type='mmvssm.CocoMetric', coco_eval='faster', ann_file=..., metric=['bbox', 'segm'])`;
`mmvssm test ... --coco-eval faster` says the same. mmdet is imported when one is built.
"""

import contextlib
import functools
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.evaluator import BaseMetric

from mmvssm.errors import UsageError
from mmvssm.openmmlab.classification import METRICS
from mmvssm.openmmlab.preflight.places import matching

EVALUATIONS = ('pycocotools', 'faster')


@METRICS.register_module()
def CocoMetric(coco_eval: str = 'pycocotools', **kwargs: Any) -> BaseMetric:
    """mmdet's CocoMetric, with a choice of who matches the boxes.

    Args:
        coco_eval: 'pycocotools' or 'faster', which needs faster-coco-eval.
        **kwargs: those of mmdet's.

    Raises:
        UsageError: there is no such evaluation, or the package is not installed.
    """
    if coco_eval not in EVALUATIONS:
        raise UsageError(f'coco_eval={coco_eval!r} is not supported; allowed: {", ".join(EVALUATIONS)}')
    from mmdet.evaluation.metrics import CocoMetric as Base

    return Base(**kwargs) if coco_eval == 'pycocotools' else _faster_metric()(**kwargs)


def choose(cfg: Config, splits: Sequence[str], coco_eval: str | None, classwise: bool = False) -> None:
    """`--coco-eval` and `--classwise`.

    Raises:
        UsageError: none of the evaluators of `splits` is a CocoMetric, or the package is not installed.
    """
    evaluators = [node for split in splits for _, node in matching(cfg, f'{split}_evaluator.*')]
    names = [str(node.get('type', '')).rpartition('.')[2] for node in evaluators]
    of_coco = [node for node, name in zip(evaluators, names) if name == 'CocoMetric']
    if coco_eval is not None:
        if not of_coco:
            raise UsageError(f'--coco-eval: this config is evaluated by {_words(names)}, not by CocoMetric')
        if coco_eval == 'faster':
            _faster_evaluation()
        for node in of_coco:
            node.update(type='mmvssm.CocoMetric', coco_eval=coco_eval)
    if classwise:
        if not of_coco and 'IoUMetric' not in names:  # which has a table of classes in any case
            raise UsageError(f'--classwise: this config is evaluated by {_words(names)}, not by CocoMetric')
        for node in of_coco:
            node.classwise = True


def _words(names: list[str]) -> str:
    return ', '.join(dict.fromkeys(names)) or 'nothing'


@functools.cache
def _faster_evaluation() -> type:
    """faster-coco-eval's, its results summed up by pycocotools: their AP counts detections otherwise beyond 100."""
    try:
        from faster_coco_eval.core.faster_eval_api import COCOeval_faster
    except ImportError:
        raise UsageError('coco_eval="faster" needs faster-coco-eval: pip install "mmvssm[faster]"') from None
    from pycocotools.cocoeval import COCOeval

    return type('FasterEvaluation', (COCOeval_faster,), dict(summarize=COCOeval.summarize))


@functools.cache
def _faster_metric() -> type:
    from mmdet.evaluation.metrics import CocoMetric as Base

    evaluation = _faster_evaluation()

    class FasterCocoMetric(Base):
        """mmdet's, which looks its evaluation up in its module."""

        def compute_metrics(self, results: list) -> dict[str, float]:
            with _in_place(Base.__module__, 'COCOeval', evaluation):
                return super().compute_metrics(results)

    return FasterCocoMetric


@contextlib.contextmanager
def _in_place(module: str, name: str, value: Any) -> Iterator[None]:
    """A name of a module stands for something else inside."""
    names = vars(sys.modules[module])
    before, names[name] = names[name], value
    try:
        yield
    finally:
        names[name] = before
