"""What the work folder of a training run tells of it, whoever started it: mmengine's records, log and config.

A run that was resumed has one folder of records for each start. They are joined: a later start replaces what the
earlier ones have from its first record on, and everything where it was no resumption.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from mmengine.config import Config

from mmvssm.errors import UsageError
from mmvssm.openmmlab import config_files, work_folder
from mmvssm.openmmlab.preflight.places import look_up
from mmvssm.openmmlab.preflight.values import RUNNER
from mmvssm.pictures.curves import Curve, read_records

RECORDS = 'vis_data/scalars.json'
PLACES = ('step', 'iter', 'epoch')
CLOCKS = ('time', 'data_time')  # of training and of validation, by the same names
# settings of a start, which change nothing of what is trained
OWN = ('work_dir', 'launcher', 'resume', 'experiment_name', 'visualizer', 'log_level')
OWN_HOOKS = ('mmvssm.StrictLoadHook', 'mmvssm.StartLineHook')
PACKAGES = ('PyTorch', 'MMEngine', 'MMCV', 'MMDetection', 'MMSegmentation')
EARLY = ('the monitored metric did not improve', 'Stopping threshold reached', ': the search ends here')


@dataclass(frozen=True)
class Score:
    """A metric of the validations: its best value and its last, and at which epoch or iteration they were."""

    best: float
    best_at: int
    last: float
    last_at: int


@dataclass
class Run:
    """What is known of a run; None or nothing in it where the folder does not tell.

    Attributes:
        folder: the work folder.
        state: 'done', 'training', 'ended early' or 'stopped'.
        iteration, epoch: how far it is; no epoch where the run is counted in iterations.
        length: epochs, or iterations, that it was to have.
        loss: the last that was logged.
        seconds: of an iteration, the median.
        memory: of the GPU, in MB, the largest.
        parameters: in millions.
        seed: of the random numbers.
        versions: package -> version.
        scores: metric -> its score.
        curves: quantity -> (iterations, values).
        settings: the config, by dotted names, without what changes nothing of what is trained.
    """

    folder: Path
    state: str = 'stopped'
    iteration: int = 0
    epoch: int | None = None
    length: int | None = None
    loss: float | None = None
    seconds: float | None = None
    memory: int | None = None
    parameters: float | None = None
    seed: int | None = None
    versions: dict[str, str] = field(default_factory=dict)
    scores: dict[str, Score] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def counted_in(self) -> str:
        return 'iteration' if self.epoch is None else 'epoch'


@dataclass(frozen=True)
class _Record:
    iteration: int
    validation: bool
    epoch: int | None
    values: dict[str, float]

    @property
    def place(self) -> tuple[int, bool]:
        """A validation comes after the training that led to it."""
        return self.iteration, self.validation


def read(folder: str | Path) -> Run:
    """A run's work folder, or one start's folder in it.

    Raises:
        UsageError: it is no run's, or nothing was logged yet: what it lacks.
    """
    folder = Path(folder)
    files = _record_files(folder)
    logs = [_log(path) for path in files]
    cfg = _config(files)
    records = _joined(files, logs, look_up(cfg, 'default_hooks.logger.log_metric_by_epoch', True))
    if not records:
        raise UsageError(f'{folder}: nothing was logged yet: its {RECORDS} holds no record of an iteration')
    run = Run(folder, settings=_settings(cfg), curves=_curves(records))
    _read_progress(run, records, cfg, logs[-1])
    _read_log(run, logs)
    run.scores = _scores(records, run.epoch is not None)
    training = [record.values for record in records if not record.validation]
    run.loss = _last(training, 'loss')
    run.seconds = median(_all(training, 'time')) if _all(training, 'time') else None
    run.memory = int(max(_all(training, 'memory'))) if _all(training, 'memory') else None
    return run


def _record_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f'{folder}: there is no such folder' if not folder.exists() else f'{folder} is no folder')
    if (folder / RECORDS).is_file():
        return [folder / RECORDS]
    if files := sorted(folder.glob(f'*/{RECORDS}')):
        return files
    inside = sorted({path.parents[2].name for path in folder.glob(f'*/*/{RECORDS}')})
    hint = f'; {", ".join(inside[:4])}{" ..." if len(inside) > 4 else ""} in it have: {folder}/*' if inside else ''
    raise UsageError(f'{folder}: no {RECORDS} in it, as a training run leaves under the time of its start{hint}')


def _log(records: Path) -> str:
    """The text of the log beside the records of a start."""
    paths = sorted(records.parents[1].glob('*.log'))
    return paths[-1].read_text(encoding='utf-8', errors='replace') if paths else ''


def _config(files: Sequence[Path]) -> dict[str, Any]:
    """The config of the latest start that has left one."""
    path = next((p for one in reversed(files) if (p := one.with_name('config.py')).is_file()), None)
    if path is None:
        return {}
    try:
        return Config.fromfile(path, import_custom_modules=False).to_dict()
    except Exception as error:  # a file of Python, by whatever mmengine wrote it
        raise UsageError(f'{path} cannot be read: {str(error).splitlines()[0]}') from error


def _settings(cfg: dict[str, Any]) -> dict[str, Any]:
    """What the runner reads: not the names that a config only gives to parts of itself."""
    read = {key: value for key, value in cfg.items() if key in RUNNER and key not in OWN}
    hooks = [hook for hook in read.get('custom_hooks') or [] if isinstance(hook, dict)]
    hooks = [hook for hook in hooks if hook.get('type') not in OWN_HOOKS]
    if len({hook.get('type') for hook in hooks}) == len(hooks):  # one more or less does not move the others
        read['custom_hooks'] = {str(hook.get('type')): {**hook, 'type': True} for hook in hooks}
    return config_files.flat(read)


def _joined(files: Sequence[Path], logs: Sequence[str], by_epoch: bool) -> list[_Record]:
    ends = _EpochEnds(files, logs)
    joined: list[_Record] = []
    for path, log in zip(files, logs):
        found = [record for line in read_records(path) if (record := _record(line, by_epoch, ends)) is not None]
        if not found:
            continue
        if ' - INFO - ' in log and 'resumed epoch:' not in log:  # it tells of starts, and not of a resumption
            joined = []
        joined = [record for record in joined if record.place < found[0].place] + found
    return joined


class _EpochEnds:
    """Iterations at the end of each epoch, of validations that are noted by the epoch."""

    def __init__(self, files: Iterable[Path], logs: Iterable[str]):
        in_epoch = re.search(r'Epoch\(train\)\s*\[\d+\]\[\s*\d+/(\d+)\]', '\n'.join(logs))
        self.per_epoch = int(in_epoch[1]) if in_epoch else None
        self.seen: dict[int, int] = {}
        for line in (line for path in files for line in read_records(path)):
            if 'epoch' in line and 'step' in line:
                self.seen[line['epoch']] = max(self.seen.get(line['epoch'], 0), line['step'])

    def __bool__(self) -> bool:
        return bool(self.seen)

    def __getitem__(self, epoch: int) -> int:
        if self.per_epoch is not None:
            return epoch * self.per_epoch
        return max((last for one, last in self.seen.items() if one <= epoch), default=0)


def _record(line: dict[str, Any], by_epoch: bool, ends: _EpochEnds) -> _Record | None:
    """A line of the records; None where it belongs to no place of a training run."""
    step = line.get('step', line.get('iter'))
    values = {name: value for name, value in line.items() if name not in PLACES and isinstance(value, int | float)}
    if not isinstance(step, int) or step <= 0 or not values:
        return None
    if 'loss' in values or 'lr' in values:
        return _Record(step, False, line.get('epoch'), values)
    values = {name: value for name, value in values.items() if name not in CLOCKS}
    if all(name.startswith('search/') for name in values):  # noted at iterations, whatever the run counts
        return _Record(step, True, None, values)
    if by_epoch and ends:
        return _Record(ends[step], True, step, values)
    return _Record(step, True, None, values)


def _curves(records: Sequence[_Record]) -> dict[str, Curve]:
    found: dict[str, dict[float, float]] = {}
    for record in records:
        for name, value in record.values.items():
            found.setdefault(name, {})[record.iteration] = value
    return {name: (list(points), list(points.values())) for name, points in found.items()}


def _scores(records: Sequence[_Record], by_epoch: bool) -> dict[str, Score]:
    points: dict[str, list[tuple[int, float]]] = {}
    for record in records:
        if record.validation:
            at = record.epoch if by_epoch and record.epoch is not None else record.iteration
            for name, value in record.values.items():
                if not name.startswith('search/'):
                    points.setdefault(name, []).append((at, value))
    return {name: _score(name, found) for name, found in points.items()}


def _score(name: str, points: Sequence[tuple[int, float]]) -> Score:
    """The first of equals is the best; a value that is no number is so where there is no other."""
    sign = -1 if re.search('loss|error', name.lower()) else 1
    best_at, best = max(points, key=lambda point: -math.inf if math.isnan(point[1]) else sign * point[1])
    last_at, last = points[-1]
    return Score(best, best_at, last, last_at)


def _read_progress(run: Run, records: Sequence[_Record], cfg: dict[str, Any], log: str) -> None:
    epochs = [record.epoch for record in records if record.epoch is not None]
    run.iteration = max(record.iteration for record in records)
    run.epoch = max(epochs) if epochs else None
    run.length = look_up(cfg, 'train_cfg.max_iters' if run.epoch is None else 'train_cfg.max_epochs')
    done = run.iteration if run.epoch is None else max([r.epoch or 0 for r in records if r.validation], default=0)
    if run.length is not None and max(done, _saved(run)) >= run.length:
        run.state = 'done'
    elif any(words in log for words in EARLY):
        run.state = 'ended early'
    elif work_folder.is_taken(run.folder):
        run.state = 'training'


def _saved(run: Run) -> int:
    """The epoch or iteration of the latest checkpoint, whose end may have come without a record."""
    try:
        name = (run.folder / 'last_checkpoint').read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError):
        return 0
    found = re.search(r'iter_(\d+)\.pth$' if run.epoch is None else r'epoch_(\d+)\.pth$', name.strip())
    return int(found[1]) if found else 0


def _read_log(run: Run, logs: Sequence[str]) -> None:
    """Parameters, seed and versions, as the latest start that tells them has them."""
    for log in logs:
        if found := re.search(r', ([\d.]+) M parameters: ', log):
            run.parameters = float(found[1])
        if found := re.search(r'^    seed: (\d+)$', log, re.M):
            run.seed = int(found[1])
        if found := re.search(r'; mmvssm ([\w.+-]+); ', log):
            run.versions['mmvssm'] = found[1]
        for name in PACKAGES:
            if found := re.search(rf'^    {name}: (\S+)$', log, re.M):
                run.versions[name] = found[1]


def _all(records: Iterable[dict[str, float]], name: str) -> list[float]:
    return [record[name] for record in records if name in record]


def _last(records: Sequence[dict[str, float]], name: str) -> float | None:
    return next((record[name] for record in reversed(records) if name in record), None)
