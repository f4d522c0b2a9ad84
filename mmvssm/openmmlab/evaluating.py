"""Tests of whole models, and what was published of them beside what was measured."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process

import mmvssm
from mmvssm import configs
from mmvssm.openmmlab import running
from mmvssm.openmmlab.tasks import task_of
from mmvssm.targets import Target
from mmvssm.weights.published import PUBLISHED, RESULTS, Result

FILE = 'evaluation.json'
HEADER = ('published', 'measured', 'difference')


@dataclass(frozen=True)
class Evaluation:
    """A test.

    Attributes:
        name: what was tested, as it was given.
        checkpoint: path, URL or published name.
        own: the checkpoint is not the one that the published figures are of.
        published: figure (box_AP, mIoU) -> what the authors have, in per cent; empty where nothing was published.
        measured: the same figures of this test.
        metrics: all that the test gave, by mmdet's and mmseg's names.
        images: how many were looked at.
        benchmark: how many the published figures are of.
        tta: with test-time augmentation.
        seconds: of the test, loading aside.
        versions: of what ran it.
        error: why there are no figures.
    """

    name: str
    checkpoint: str = ''
    own: bool = False
    published: dict[str, float] = field(default_factory=dict)
    measured: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    images: int = 0
    benchmark: int = 0
    tta: bool = False
    seconds: float = 0.0
    device: str = ''
    versions: dict[str, str] = field(default_factory=dict)
    error: str = ''

    @property
    def comparable(self) -> bool:
        """Of the same file on as many images as the published figures."""
        return not self.own and self.images == self.benchmark


def evaluate(
    target: Target, *, tta: bool = False, finish: Callable[[Config], None] = lambda cfg: None, **settings: Any
) -> Evaluation:
    """Test a detector or segmentor; what was measured goes into evaluation.json beside the run's log.

    Args:
        target: the config and the checkpoint.
        tta: with test-time augmentation, which has figures of its own.
        finish: changes the config before the model is built.
        settings: of :func:`mmvssm.openmmlab.running.load_config`.

    Raises:
        UsageError, DataError, CheckpointError: the config, its data or the checkpoint are not as they should be.
    """
    cfg = running.load_config(target.config_file, splits=('test',), **settings)
    finish(cfg)
    if tta:
        running.augment_tests(cfg)
    cfg.load_from, cfg.resume = target.local_checkpoint(), False
    benchmark = task_of(cfg).benchmark
    runner = running.build_runner(cfg, strict=True)
    start = time.perf_counter()
    metrics = {name: float(value) for name, value in runner.test().items() if isinstance(value, Real)}
    record, own = published_of(target)
    evaluation = Evaluation(
        name=target.name,
        checkpoint=str(target.checkpoint),
        own=own,
        published={} if record is None else _published_figures(record, tta),
        measured={
            figure: round(benchmark.scale * metrics[name], 2)
            for figure, name in benchmark.metrics.items()
            if name in metrics
        },
        metrics=metrics,
        images=len(runner.test_loop.dataloader.dataset),
        benchmark=benchmark.images,
        tta=tta,
        seconds=round(time.perf_counter() - start, 1),
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu',
        versions=dict(mmvssm=mmvssm.__version__, torch=torch.__version__),
    )
    write(evaluation, Path(runner.log_dir) / FILE)
    return evaluation


def published_of(target: Target) -> tuple[Result | None, bool]:
    """The published record of a target's checkpoint, or else of its config; and whether it is of the config alone."""
    if target.checkpoint in PUBLISHED:
        return PUBLISHED[target.checkpoint], False
    records: list[Result] = [*PUBLISHED.values(), *RESULTS]
    found = (one for one in records if one.config and configs.named(one.config) == target.config)
    return next(found, None), True


def write(evaluation: Evaluation, path: Path) -> None:
    """As JSON."""
    write_text(path, json.dumps(asdict(evaluation), indent=1))


def write_text(path: Path, text: str) -> None:
    """Write a file of a run, by the first of several processes."""
    if is_main_process():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding='utf-8')


def read(path: Path) -> Evaluation:
    """What :func:`write` has written.

    Raises:
        ValueError: it is no such file.
    """
    try:
        return Evaluation(**json.loads(path.read_text(encoding='utf-8')))
    except TypeError as error:
        raise ValueError(f'{path}: {error}') from None


def in_words(one: Evaluation) -> str:
    """A table of published and measured figures, and whether they can be compared; empty where nothing is published."""
    rows = _rows(one)
    if not rows:
        return ''
    lines = [f'{one.name}{", with test-time augmentation" if one.tta else ""}', _line('', *HEADER)]
    lines += [_line(name, f'{published:.1f}', *_measured(published, found)) for name, published, found in rows]
    return '\n'.join([*lines, *_notes(one)])


def markdown(evaluations: list[Evaluation]) -> str:
    """One table of many tests: a row a figure, or why there is none."""
    lines = [
        '| name | figure | published | measured | difference | images | seconds |',
        '| --- | --- | --- | --- | --- | --- | --- |',
    ]
    for one in evaluations:
        name = f'`{one.name}`' + (', TTA' if one.tta else '')
        if one.error:
            lines.append(f'| {name} | | | failed: {_short(one.error)} | | | |')
        for figure, published, found in _rows(one) if not one.error else ():
            cells = (name, figure, f'{published:.1f}', *_measured(published, found), _images(one), f'{one.seconds:.0f}')
            lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines) + '\n'


def _published_figures(record: Result, tta: bool) -> dict[str, float]:
    """Multi-scale figures are those with test-time augmentation; none of a detector is."""
    if tta:
        return {name.removesuffix('_ms'): value for name, value in record.metrics.items() if name.endswith('_ms')}
    return {name: value for name, value in record.metrics.items() if not name.endswith('_ms')}


def _rows(one: Evaluation) -> list[tuple[str, float, float | None]]:
    return [
        (figure.replace('_', ' '), published, one.measured.get(figure)) for figure, published in one.published.items()
    ]


def _measured(published: float, found: float | None) -> tuple[str, str]:
    return ('-', '-') if found is None else (f'{found:.1f}', f'{found - published:+.1f}')


def _line(name: str, *cells: str) -> str:
    return f'  {name:12}' + ''.join(f'{cell:>12}' for cell in cells)


def _notes(one: Evaluation) -> list[str]:
    notes = []
    if one.own:
        notes.append("  published: of the authors' training of this config, not of this checkpoint")
    if one.images != one.benchmark:
        notes.append(f'  not comparable: {_images(one)} images')
    return notes


def _short(text: str, most: int = 120) -> str:
    return text if len(text) <= most else f'{text[:most]}...'


def _images(one: Evaluation) -> str:
    return f'{one.images:,}' + (f' of {one.benchmark:,}' if one.images != one.benchmark else '')
