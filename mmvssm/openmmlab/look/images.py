"""Image files, looked at by their headers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from PIL import Image

from mmvssm.data.check import Report
from mmvssm.data.read import ORIENTATION

ALL, SOME = 2000, 500  # files that are all looked at, and how many of more than that
SIDEWAYS = (5, 6, 7, 8)  # orientations of EXIF that exchange width and height
T = TypeVar('T')


class Header(NamedTuple):
    """What an image file says of itself: its size as stored, and turned as EXIF wants it."""

    stored: tuple[int, int]
    upright: tuple[int, int]
    orientation: int


def header(path: Path) -> Header | None:
    """None where the file cannot be read."""
    try:
        with Image.open(path) as image:
            orientation = image.getexif().get(ORIENTATION, 1)
            stored = image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return Header(stored, stored[::-1] if orientation in SIDEWAYS else stored, orientation)


def some(items: Sequence[T]) -> Sequence[T]:
    """All of them, or an even choice of many."""
    return items if len(items) <= ALL else items[:: len(items) // SOME]


def unreadable(paths: Sequence[Path], report: Report) -> list[Path]:
    """Those of `some` of the files that cannot be read; the sizes of the others are noted in the report."""
    bad = []
    for path in some(paths):
        found = header(path)
        if found is None:
            bad.append(path)
        else:
            report.sizes[found.stored] += 1
    return bad


def read_as_stored(pipeline: Any) -> None:
    """Let a pipeline read images as they are stored, whatever EXIF says."""
    if isinstance(pipeline, dict):
        if pipeline.get('type') == 'LoadImageFromFile':
            pipeline['color_type'] = 'color_ignore_orientation'
        pipeline = list(pipeline.values())
    for item in pipeline if isinstance(pipeline, list | tuple) else ():
        read_as_stored(item)


def in_words(size: Sequence[int]) -> str:
    """96 x 64."""
    return ' x '.join(map(str, size))
