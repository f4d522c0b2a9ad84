"""A calm console: what a run does, where, for how long; everything else is in the log file of its work folder.

mmengine and what it imports print the environment, the config, the hooks and the settings of every parameter: 890
lines of a small run. The file keeps them; the console shows progress, scores, checkpoints, warnings and what this
project says.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from mmengine.logging import MMLogger
from mmengine.runner import Runner

SHOWN = ('logger_hook.py', 'checkpoint_hook.py')  # progress and scores; checkpoints
SHOWN_WORDS = ('Auto resumed', 'resumed epoch', 'Load checkpoint')
TABLE = '\n+-'  # of the scores of each class
KNOWN_WARNINGS = ('"FileClient" will be deprecated', '"HardDiskBackend" is the alias', 'The prefix is not set in')
PRINTERS = ('pycocotools.coco', 'pycocotools.cocoeval')  # print what the log has too, and "creating index..."
NOISY = ('mmdet.datasets', 'mmdet.evaluation', 'mmseg.datasets', 'mmseg.evaluation')
OWN = str(Path(__file__).parents[1])


@contextlib.contextmanager
def calm(verbose: bool = False, tables: bool = False) -> Iterator[None]:
    """The console of the runners that are built and run inside; as mmengine has it where it is to be `verbose`.

    tables: scores of each class, a line each, are shown.
    """
    if verbose:
        yield
        return
    _import_quietly()
    build_logger = Runner.build_logger

    def build_calm_logger(self, *args, **kwargs) -> MMLogger:
        logger = build_logger(self, *args, **kwargs)
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                handler.addFilter(lambda record: is_for_the_console(record, tables))
                handler.setFormatter(logging.Formatter('%(message)s'))
        return logger

    Runner.build_logger = build_calm_logger
    raises, logging.raiseExceptions = logging.raiseExceptions, False  # a full disk is told once, by the checkpoint
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', module=r'(mmengine|mmcv|mmdet|mmseg|torch|timm|pycocotools)\b')
            yield
    finally:
        Runner.build_logger = build_logger
        logging.raiseExceptions = raises


def is_for_the_console(record: logging.LogRecord, tables: bool = False) -> bool:
    """Whether a record is shown, not in the file alone."""
    if record.levelno >= logging.WARNING:
        return not record.getMessage().startswith(KNOWN_WARNINGS)
    text = record.getMessage()
    if text.startswith('Exp name'):
        return False
    if text.startswith(TABLE):
        return tables
    return text.startswith(SHOWN_WORDS) or record.pathname.startswith(OWN) or record.pathname.endswith(SHOWN)


def tell(line: str) -> None:
    """Print a line before there is a run with a log, once for all processes."""
    if os.environ.get('RANK', '0') == '0' and os.environ.get('SLURM_PROCID', '0') == '0':
        print(line, flush=True)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Nothing of what is built inside is told, on the console or in a log."""
    _disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        _disable(logging.NOTSET)


def _disable(level: int) -> None:
    logging.disable(level)
    for logger in MMLogger._instance_dict.values():
        logger._cache.clear()  # `logging` clears those of its own loggers alone


def _import_quietly() -> None:
    """mmdet and mmseg tell on import which optional packages are not there, 'metrics will not be computed' among it."""
    for name in NOISY:
        with silent(), contextlib.suppress(ImportError):
            importlib.import_module(name)
    for name in PRINTERS:
        with contextlib.suppress(ImportError):
            vars(importlib.import_module(name))['print'] = lambda *values, **kwargs: None
