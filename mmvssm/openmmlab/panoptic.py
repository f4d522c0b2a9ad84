"""A stand-in for `panopticapi`, which no package index has: what mmdet takes of it, colours of segments and PQ.

`install()` puts it in place where the package is not installed. Panoptic quality is that of Kirillov et al. (arXiv
1801.00868): of a class, the sum of the IoUs of matched segments over TP + FP/2 + FN/2.
"""

import importlib.util
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np

NAME = 'panopticapi'
USERS = ('mmdet.evaluation.functional.panoptic_utils', 'mmdet.evaluation.metrics.coco_panoptic_metric')
OFFSET = 1 << 24  # of the number of a true segment in one number with that of a predicted one
VOID = 0


def rgb2id(colour: np.ndarray) -> np.ndarray:
    """(..., 3) red, green and blue, or three such numbers -> numbers of segments: R + 256 G + 65536 B."""
    return np.asarray(colour).astype(np.int64) @ np.array([1, 1 << 8, 1 << 16])


def id2rgb(number: np.ndarray) -> np.ndarray:
    """Numbers of segments -> (..., 3) uint8."""
    return (np.asarray(number)[..., None] >> np.array([0, 8, 16]) & 0xFF).astype(np.uint8)


@dataclass
class PQStatCat:
    """Counts of one class."""

    iou: float = 0.0
    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __iadd__(self, other: 'PQStatCat') -> 'PQStatCat':
        self.iou += other.iou
        self.tp += other.tp
        self.fp += other.fp
        self.fn += other.fn
        return self


class PQStat:
    """Counts of all classes, by category id."""

    def __init__(self) -> None:
        self.pq_per_cat: defaultdict[int, PQStatCat] = defaultdict(PQStatCat)

    def __getitem__(self, category: int) -> PQStatCat:
        return self.pq_per_cat[category]

    def __iadd__(self, other: 'PQStat') -> 'PQStat':
        for category, counts in other.pq_per_cat.items():
            self.pq_per_cat[category] += counts
        return self

    def pq_average(self, categories: Mapping[int, dict], isthing: bool | None) -> tuple[dict, dict[int, dict]]:
        """Qualities of all classes, of things (`isthing`) or of stuff: their mean, and each by category id.

        The mean is over the classes that are in the images or the predictions; `n` is their number.
        """
        kept = [one for one, info in categories.items() if isthing is None or bool(info['isthing']) == isthing]
        each = {one: _qualities(self[one]) for one in kept}
        there = [each[one] for one in kept if self[one] != PQStatCat()]
        mean = {key: float(np.mean([one[key] for one in there])) if there else 0.0 for key in ('pq', 'sq', 'rq')}
        return dict(mean, n=len(there)), each


def _qualities(counts: PQStatCat) -> dict[str, float]:
    number = counts.tp + (counts.fp + counts.fn) / 2
    quality = counts.iou / number if number else 0.0
    return dict(pq=quality, sq=counts.iou / counts.tp if counts.tp else 0.0, rq=counts.tp / number if number else 0.0)


def install() -> bool:
    """Make `panopticapi` importable, for what of mmdet is imported already too; idempotent.

    Returns:
        True where the stand-in serves, False where the package does.
    """
    if NAME not in sys.modules and importlib.util.find_spec(NAME) is None:
        package, utils, evaluation = (ModuleType(f'{NAME}{part}', __doc__) for part in ('', '.utils', '.evaluation'))
        colours = dict(rgb2id=rgb2id, id2rgb=id2rgb)
        counting = dict(OFFSET=OFFSET, VOID=VOID, PQStatCat=PQStatCat, PQStat=PQStat)
        vars(utils).update(colours)
        vars(evaluation).update(counting)
        for module in filter(None, map(sys.modules.get, USERS)):
            vars(module).update(panopticapi=package, **colours, **counting)
        vars(package).update(utils=utils, evaluation=evaluation, __path__=[], __spec__=ModuleSpec(NAME, None))
        sys.modules.update({module.__name__: module for module in (package, utils, evaluation)})
    return getattr(sys.modules.get(f'{NAME}.evaluation'), 'PQStat', None) is PQStat
