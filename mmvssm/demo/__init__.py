"""Embedded data sets, written to a folder on request: real images of nuclei, and drawn shapes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import nuclei, shapes

__all__ = ['EMBEDDED', 'Embedded', 'nuclei', 'shapes']


@dataclass(frozen=True)
class Embedded:
    """An embedded data set.

    Attributes:
        folder: where it is written by default.
        write: folder -> that folder with the data set in it, in COCO's and in ADE20K's layout.
        is_complete: whether a folder holds it.
    """

    folder: str
    write: Callable[[str | Path], Path]
    is_complete: Callable[[str | Path], bool]


NUCLEI = Embedded('data/nuclei', nuclei.write, nuclei.is_complete)
EMBEDDED = {'demo': NUCLEI, 'nuclei': NUCLEI, 'shapes': Embedded('data/shapes', shapes.write, shapes.is_complete)}
