"""Section `tune`: tiles near those in the code, one thing changed at a time, forward and backward kernels apart.

A tile is timed on the launches of its own kernel alone. The winner is checked once, and printed as what to put into
the code; nothing is changed by it.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from mmvssm.kernels.mlstm import triton_launch as mlstm_launch
from mmvssm.kernels.selective_scan import triton_launch as scan_launch
from mmvssm.testing import LIMITS

from . import check
from .kernels import CALLS
from .launches import Launch, launches_of
from .plan import DTYPES, Lstm, Plan, Work
from .session import Rows, Session

LEAST, MOST = 16, 64  # rows and channels: what tl.dot takes, what registers hold
WARPS = (1, 2, 4, 8)


class Used(NamedTuple):
    work: Work
    dtype: str


@dataclass(frozen=True)
class Knob:
    """A tile in the code: where it stands, which kernels it shapes, by what it is judged."""

    place: Any  # a key of TILES, or the name of a function of the mLSTM's launches
    kernels: tuple[str, ...]
    used: Sequence[Used]
    tile: Any

    @property
    def name(self) -> str:
        return self.place if isinstance(self.place, str) else f'{self.place[0]}, up to {self.place[1]}'

    def in_code(self, tile) -> str:
        if isinstance(self.place, str):
            return f'{self.place} -> {tile}'
        return f'{self.place!r}: [Tile{tuple(tile)}],'

    @contextlib.contextmanager
    def put(self, tile) -> Iterator[None]:
        """The code with another tile."""
        if isinstance(self.place, str):
            before = getattr(mlstm_launch, self.place)
            setattr(mlstm_launch, self.place, lambda dim, dtype: tile)
            try:
                yield
            finally:
                setattr(mlstm_launch, self.place, before)
            return
        before = scan_launch.TILES
        scan_launch.TILES = {**before, self.place: [tile]}
        try:
            yield
        finally:
            scan_launch.TILES = before

    def launches(self, tile, device: str = 'meta') -> list[tuple[int, Launch]]:
        """The launches that it shapes, with how many blocks have them."""
        with self.put(tile):
            return [
                (used.work.count, launch)
                for used in self.used
                for launch in launches_of(used.work, used.dtype, device)
                if launch.name in self.kernels
            ]


def knobs(plan: Plan) -> list[Knob]:
    """Tiles that the plan's work uses, bfloat16's before those that float32 has of its own."""
    uses: dict[Any, list[Used]] = {}
    for dtype in plan.dtypes:
        for works in plan.groups.values():
            for work in works:
                for place in _places(work, dtype):
                    if all(used.dtype == dtype for used in uses.get(place, ())):
                        uses.setdefault(place, []).append(Used(work, dtype))
    return [_knob(place, used) for place, used in uses.items()]


def _places(work: Work, dtype: str) -> list[Any]:
    if isinstance(work, Lstm):
        return ['state_tiles', 'pair_tiles']
    before, noted = scan_launch.TILES, _Noting(scan_launch.TILES)
    scan_launch.TILES = noted
    try:
        launches_of(work, dtype)
    finally:
        scan_launch.TILES = before
    return list(dict.fromkeys(noted.asked))


class _Noting(dict):
    """Notes which keys were asked for."""

    def __init__(self, table: dict):
        super().__init__(table)
        self.asked: list = []

    def __getitem__(self, key):
        self.asked.append(key)
        return super().__getitem__(key)


def _knob(place: Any, used: list[Used]) -> Knob:
    if not isinstance(place, str):
        return Knob(place, (place[0].split(',')[0],), used, scan_launch.TILES[place][0])
    tile = getattr(mlstm_launch, place)(used[0].work.dim, DTYPES[used[0].dtype])
    return Knob(place, ('sum_chunks',) if place == 'state_tiles' else ('apply_pairs',), used, tile)


def candidates(tile, most: int) -> list:
    """A tile and those next to it, in the order of worth."""
    near = [tile._replace(warps=warps) for warps in (tile.warps * 2, tile.warps // 2) if warps in WARPS]
    for field in tile._fields[:-1]:
        if field in ('warps', 'stages'):
            continue
        size = getattr(tile, field)
        highest = 4 * MOST if size > MOST else 2 * MOST if field == 'BZ' else MOST
        near += [tile._replace(**{field: s}) for s in (size * 2, size // 2) if LEAST <= s <= highest]
    return [tile, *near][:most]


def rows(session: Session) -> Rows:
    for knob in knobs(session.plan):
        yield knob.name, partial(search, session, knob)


def search(session: Session, knob: Knob) -> dict:
    """Milliseconds of each tile, and the best one with the error of a check."""
    times: dict[str, float | str] = {}
    best = knob.tile, float('inf')
    for tile in candidates(knob.tile, session.plan.candidates):
        try:
            ms = sum(
                count * session.clock.graph_ms(launch.run, calls=CALLS)
                for count, launch in knob.launches(tile, session.clock.device)
            )
        except Exception as error:  # one that needs too much is none
            times[str(tuple(tile))] = f'{type(error).__name__}: {error}'[:120]
            continue
        times[str(tuple(tile))] = ms
        best = min(best, (tile, ms), key=lambda found: found[1])
    with knob.put(best[0]):
        used = min(knob.used, key=lambda used: getattr(used.work, 'H', 1))
        forward, gradient = check.errors(used.work, used.dtype, session.clock.device)
    limits = LIMITS[DTYPES[used.dtype]]
    right = forward <= check.WRONG * limits[0] and gradient <= check.WRONG * limits[1]
    gain = times.get(str(tuple(knob.tile)))
    gain = gain / best[1] if isinstance(gain, float) else None
    found = {'times': times, 'put': knob.in_code(best[0]), 'times_as_fast': gain, 'right': right}
    return {**found, 'forward': forward, 'gradient': gradient}
