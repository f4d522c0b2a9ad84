"""Copies of annotation files, put right, that a run reads in place of the originals."""

import hashlib
import json
import os
import tempfile
from pathlib import Path

from mmengine.config import Config, ConfigDict


def replace(cfg: Config, dataset: ConfigDict, split: str, original: Path, content: str) -> None:
    """Write `content` beside the run and let the data set, and the evaluators of the same file, read it.

    The name holds what is in it, so that processes may write it at the same time.
    """
    folder = Path(cfg.get('work_dir') or Path(tempfile.gettempdir(), 'mmvssm')) / 'annotations'
    folder.mkdir(parents=True, exist_ok=True)
    path = folder.absolute() / f'{original.stem}-{hashlib.sha256(content.encode()).hexdigest()[:8]}{original.suffix}'
    if not path.is_file():
        temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
        temporary.write_text(content, encoding='utf-8')
        os.replace(temporary, path)
    dataset.ann_file = str(path)
    for name in (f'{split}_evaluator', 'val_evaluator', 'test_evaluator'):
        evaluators = cfg.get(name) or []
        for evaluator in evaluators if isinstance(evaluators, list | tuple) else [evaluators]:
            if isinstance(evaluator, dict) and _same(evaluator.get('ann_file'), original):
                evaluator['ann_file'] = str(path)


def as_json(content: dict) -> str:
    """The text of an annotation file."""
    return json.dumps(content, separators=(',', ':'))


def _same(name: str | None, path: Path) -> bool:
    return bool(name) and Path(str(name)).absolute() == path.absolute()
