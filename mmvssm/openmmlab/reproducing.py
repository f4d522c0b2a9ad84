"""Published detectors and segmentors, one after the other: fetched, loaded to the last key, tested."""

import dataclasses
import fnmatch
import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from mmvssm import configs, targets
from mmvssm.errors import UsageError
from mmvssm.openmmlab import evaluating
from mmvssm.openmmlab.evaluating import Evaluation
from mmvssm.weights import CheckpointError
from mmvssm.weights.published import PUBLISHED, Checkpoint

TABLE = 'reproduced.md'
FAILURES = (UsageError, CheckpointError, OSError, RuntimeError, ValueError)  # of one model, that leave the others


def whole_models() -> list[Checkpoint]:
    """The published checkpoints of detectors and segmentors."""
    return [one for one in PUBLISHED.values() if one.task != 'imagenet']


def named(patterns: list[str]) -> list[Checkpoint]:
    """Those whose names are given or match a pattern, each once.

    Raises:
        UsageError: a pattern that matches none.
    """
    known = {one.name: one for one in whole_models()}
    found = {}
    for pattern in patterns:
        matching = fnmatch.filter(known, pattern)
        if not matching:
            if pattern in PUBLISHED:
                raise UsageError(f'{pattern} is a classifier: `python tools/eval_imagenet.py` measures those')
            raise UsageError(
                f'no published detector or segmentor is called {pattern}{configs.near(pattern, list(known))}\n'
                '`mmvssm zoo --task coco --weights` and `--task ade20k --weights` list them'
            )
        found.update({name: known[name] for name in matching})
    return list(found.values())


def reproduce(
    records: list[Checkpoint], folder: Path, data: dict[str, str], *, tta: bool, force: bool, **settings: Any
) -> Iterator[Evaluation]:
    """Test each; what a folder of `folder` has from an earlier call is taken from there.

    Args:
        records: what to test.
        folder: has a work folder for each, and the table.
        data: task -> folder of its data set; that of the configs where there is none.
        tta: with test-time augmentation too, where such a figure was published.
        force: test again what has been.
        settings: of :func:`mmvssm.openmmlab.evaluating.evaluate`.
    """
    done = []
    for record in records:
        for augmented in (False, True) if tta and 'mIoU_ms' in record.metrics else (False,):
            work_dir = folder / (f'{record.name}.tta' if augmented else record.name)
            own = dict(settings, data_set=data.get(record.task), work_dir=str(work_dir), tta=augmented)
            done.append(_kept(work_dir, own, force) or _tested(record, work_dir, own))
            evaluating.write_text(folder / TABLE, evaluating.markdown(done))
            evaluating.write_text(
                folder / f'{Path(TABLE).stem}.json', json.dumps([dataclasses.asdict(one) for one in done], indent=1)
            )
            yield done[-1]


def _kept(work_dir: Path, settings: dict[str, Any], force: bool) -> Evaluation | None:
    """An earlier test on the same data with the same settings."""
    file, asked = work_dir / evaluating.FILE, work_dir / 'asked.json'
    if force or not file.is_file() or not asked.is_file() or asked.read_text() != _asked(settings):
        return None
    return evaluating.read(file)


def _tested(record: Checkpoint, work_dir: Path, settings: dict[str, Any]) -> Evaluation:
    try:
        found = evaluating.evaluate(targets.find(record.name), **settings)
    except FAILURES as error:
        return Evaluation(record.name, record.name, tta=settings['tta'], error=' '.join(str(error).split())[:300])
    finally:
        gc.collect()
        torch.cuda.empty_cache()
    evaluating.write(found, work_dir / evaluating.FILE)
    evaluating.write_text(work_dir / 'asked.json', _asked(settings))
    return found


def _asked(settings: dict[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, default=str)
