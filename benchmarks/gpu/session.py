"""Rows of figures, kept in a file after each one, within the time that there is.

A row is a name and a function that returns its figures. One that raises costs its own figures, and one that takes its
process with it as well: the supervisor starts another one, which goes on behind it.
"""

import gc
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mmvssm.kernels.self_check import given_up

from .clock import Clock
from .plan import Plan

Rows = Iterator[tuple[str, Callable[[], dict]]]
LOST = 3  # exit status of a process whose GPU context is lost
DID_NOT_RETURN = 'did not return'


class NotMeasured(Exception):
    """Why there is no figure where nothing failed: no time was left, a package is missing, a kernel is wrong."""


class Session:
    """The results of one call, and the processes that it takes.

    Args:
        file: where the results stand; those that it holds are not measured again.
        end: of the time that there is, as `time.time()`.
        plan, clock: what is measured, and by what.
    """

    def __init__(self, file: Path, end: float, plan: Plan, clock: Clock):
        self.file, self.end, self.plan, self.clock = file, end, plan, clock
        self.results: dict[str, dict] = json.loads(file.read_text()) if file.exists() else {}

    def run(self, section: str, seconds: float, rows: Rows) -> None:
        """Measure rows until they end or `seconds` have passed; those that are left say so."""
        limit = min(self.end, time.time() + seconds)
        for name, figures in rows:
            if name in self.results.get(section, {}):
                continue
            if time.time() >= limit:
                self._keep(section, name, {'not measured': 'out of time'})
                continue
            self._keep(section, name, {'error': DID_NOT_RETURN})
            start = time.time()
            found = _figures_or_reason(figures)
            self._keep(section, name, found)
            print(f'[{section}] {name} ({time.time() - start:.1f} s): {in_words(found)}', flush=True)
            self._tidy_up()

    def _keep(self, section: str, name: str, figures: dict) -> None:
        self.results.setdefault(section, {})[name] = figures
        self.file.parent.mkdir(parents=True, exist_ok=True)
        partial = self.file.with_suffix('.partial')
        partial.write_text(json.dumps(self.results, indent=1, default=str))
        partial.replace(self.file)

    def _tidy_up(self) -> None:
        """Ends the process where the GPU does not answer any more."""
        gc.collect()
        try:
            self.clock.empty_cache()
        except RuntimeError as error:
            print(f'the GPU is lost to this process: {error}', flush=True)
            os._exit(LOST)  # libraries that tidy up behind themselves might wait for the GPU

    def require(self, *covers: str) -> None:
        """Raises NotMeasured unless checks of these kernels were passed and none was failed."""
        for cover in covers:
            checks = {name: row for name, row in self.results.get('check', {}).items() if row.get('covers') == cover}
            wrong = [name for name, row in checks.items() if row['verdict'] == 'WRONG']
            if wrong or not checks:
                raise NotMeasured(f'{cover}: ' + ('wrong in ' + '; '.join(wrong) if wrong else 'not checked'))


def _figures_or_reason(figures: Callable[[], dict]) -> dict:
    given_up().clear()
    try:
        found = figures()
        refuse_plain_pytorch()
        return found
    except NotMeasured as reason:
        return {'not measured': str(reason)}
    except Exception as error:  # whatever a kernel, a compiler or a peer raises costs this row alone
        return {'error': f'{type(error).__name__}: {error}'[:600]}


def refuse_plain_pytorch() -> None:
    """Raises RuntimeError if a kernel gave way to plain PyTorch, as it would for a user."""
    if instead := given_up():
        raise RuntimeError(f'plain PyTorch ran instead: {"; ".join(instead.values())}')


def in_words(figures: dict) -> str:
    words = (f'{value:.4g}' if isinstance(value, float) else str(value) for value in figures.values())
    return '  '.join(f'{key} {value}' for key, value in zip(figures, words))
