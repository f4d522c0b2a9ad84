"""The sections of a session, in the order of their worth, with the seconds that each may take."""

from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path

import torch

from . import check, kernels, machine, models, precompile, scans, tune
from .launches import Binary, Launch, distinct, launches_of
from .plan import Plan
from .session import NotMeasured, Rows, Session

SECTIONS: dict[str, tuple[float, Callable[[Session], Rows]]] = {
    'check': (60, check.rows),
    'scans': (45, scans.rows),
    'models': (110, models.rows),
    'kernels': (40, kernels.rows),
    'peers': (30, scans.peer_rows),
    'compiled': (90, models.compiled_rows),
    'tune': (60, tune.rows),
    'detectors': (60, models.detector_rows),
}


def measure(session: Session, cache: Path | None = None) -> None:
    """All sections. `cache`: a folder of binaries that was made elsewhere."""
    session.run('machine', 15, machine.rows(session))
    session.run('compile', 150, compile_rows(session, cache))
    for name, (seconds, rows) in SECTIONS.items():
        if name == 'tune':
            session.run('compile', 60, iter([('tiles', partial(compiled, session, tile_binaries))]))
        session.run(name, seconds, rows(session))


def compile_rows(session: Session, cache: Path | None) -> Rows:
    if cache is not None:
        yield 'cache', lambda: precompile.use_cache(cache, here())
    yield 'kernels', partial(compiled, session, binaries)


def compiled(session: Session, of_plan: Callable[[Plan], list[Binary]]) -> dict:
    if session.clock.dry:
        raise NotMeasured('a dry run interprets the kernels')
    return precompile.compile_all(of_plan(session.plan), here(), precompile.workers(), launchers=True)


def here():
    """Triton's name of the GPU of this machine."""
    import triton

    return triton.runtime.driver.active.get_current_target()


def binaries(plan: Plan) -> list[Binary]:
    """What all sections but `tune` launch on purpose."""
    found: list[Launch] = []
    for each in plan.checks:
        found += launches_of(each.work, each.dtype)
    for work in (*chain(*plan.groups.values()), *plan.inside):
        for dtype in plan.dtypes:
            found += launches_of(work, dtype)
    torch.use_deterministic_algorithms(True)
    try:
        found += launches_of(plan.checks[0].work, plan.checks[0].dtype)
    finally:
        torch.use_deterministic_algorithms(False)
    return distinct(found)


def tile_binaries(plan: Plan) -> list[Binary]:
    """What `tune` launches."""
    launches = [
        launch
        for knob in tune.knobs(plan)
        for tile in tune.candidates(knob.tile, plan.candidates)
        for _, launch in knob.launches(tile)
    ]
    return distinct(launches)
