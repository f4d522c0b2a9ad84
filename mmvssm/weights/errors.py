"""What can be wrong with a checkpoint. A message has two lines at most: what the file is, what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import Any


class CheckpointError(ValueError):
    """A checkpoint that cannot be used. The base of every error of this package."""


class NotACheckpointError(CheckpointError):
    """The file is something else: a web page, a git-lfs pointer, a picture, a script, an empty file."""


class DamagedFileError(CheckpointError):
    """The file was a checkpoint, but is truncated or altered."""


class UnsafePickleError(CheckpointError):
    """The file asks for code to be run. It was not."""


class KeyMismatchError(CheckpointError):
    """The tensors do not fit the model. `report` holds the sorted keys."""

    def __init__(self, message: str, report: Any = None):
        super().__init__(message)
        self.report = report


class DownloadError(CheckpointError):
    """A file could not be fetched, completely and as announced."""


def first_line(error: Exception, limit: int = 100) -> str:
    """What another library's error says, in one line: its first, or its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:limit]


@contextmanager
def naming(source: str | PathLike) -> Iterator[None]:
    """Puts a file's path, URL or name in front of what is found wrong with its content inside."""
    try:
        yield
    except CheckpointError as error:
        error.args = (f'{source}: {error}',)
        raise
