"""What can be wrong with a checkpoint. A message has two lines at most: what the file is, what to do.

What files and servers say never reaches a terminal as it is: control characters are escaped (`quoted`, `shown`), and
what may be a secret is cut out of URLs (`redacted`).
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
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


PLAIN = re.compile(r'[\w.:+@-]+', re.ASCII)  # what needs no quotes to be seen as one name
WIDEST = 80  # characters of a name
LONGEST_PATH = 500


def quoted(value: Any) -> str:
    """Python's notation of a value that a file gives, cut to WIDEST characters: no control character is left in it."""
    try:
        text = repr(value[: WIDEST + 1] if isinstance(value, (str, bytes)) else value)
    except ValueError:  # an integer of more digits than Python writes
        text = f'<{type(value).__name__}>'
    return text if len(text) <= WIDEST else text[: WIDEST - 3] + '...'


def shown(name: Any) -> str:
    """A file's name for something: as it is where it is short and plain, else `quoted`."""
    return name if isinstance(name, str) and len(name) <= WIDEST and PLAIN.fullmatch(name) else quoted(name)


def listed(names: Iterable[Any], limit: int = 3) -> str:
    """The first of a file's names, `shown`."""
    first = [shown(name) for name in islice(names, limit + 1)]
    return ', '.join([*first[:limit], *(['...'] if len(first) > limit else [])])


def place(path: str | PathLike) -> str:
    """A path or URL for a message: without secrets, and on one line."""
    text = redacted(str(path))
    return text if text.isprintable() and len(text) <= LONGEST_PATH else repr(text[:WIDEST])[:-1] + "...'"


def redacted(url: str) -> str:
    """A URL without user and password, the values of its query and its fragment; any other text as it is.

    A text that only begins as a URL is treated alike, since a password may hold what makes it an unsound one.
    """
    scheme, mark, rest = url.partition('://')
    if not mark:
        return url
    rest = re.sub(r'^[^/?#]*@', '', rest)
    # no port: what follows the colon may be a password with a slash in it
    rest = re.sub(r'^([^/?#@:\[]*):(?!\d*(?:[/?#]|$)).*', r'\1:...', rest, flags=re.DOTALL)
    rest, fragment, _ = rest.partition('#')
    rest, query, given = rest.partition('?')
    hidden = re.sub(r'(^|[&;])([\w.%+-]+=)?[^&;]*', r'\1\2...', given) if given else ''
    return scheme + mark + rest + query + hidden + ('#...' if fragment else '')


def first_line(error: object, limit: int = 100) -> str:
    """What another library's error says, in one line without control characters and secrets: its first, or its type."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    line = re.sub(r'\w+://\S+', lambda match: redacted(match[0]), line[:1000])
    return ''.join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)[:limit]


@contextmanager
def naming(source: str | PathLike) -> Iterator[None]:
    """Puts a file's path, URL or name in front of what is found wrong with its content inside."""
    try:
        yield
    except CheckpointError as error:
        error.args = (f'{place(source)}: {error}',)
        raise
