"""The work folder of a run: one run at a time writes in it, and what the disk refuses is said in words."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from mmvssm.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows has no locks that end with the process
    fcntl = None  # type: ignore[assignment]

RANKS = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
LOCK = '.lock'
FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_held: set[str] = set()


class FolderError(UsageError, OSError):
    """A folder that cannot be written to, or in which another run writes."""


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Have a work folder for this process alone, until the end of the block or of the process, however that ends.

    The lock is one of the record locks of POSIX, which the kernel takes back from a killed process and which its
    children do not inherit. This process may ask again for what it has.

    Raises:
        FolderError: another process has it; or there can be no such folder.
    """
    path = str(Path(folder).resolve())
    if path in _held or fcntl is None:
        yield
        return
    try:
        os.makedirs(path, exist_ok=True)
        file = _take(Path(path, LOCK))
    except OSError as error:
        raise in_words(error, path) from error
    _held.add(path)
    try:
        yield
    finally:
        _held.discard(path)
        _release(file, Path(path, LOCK))


def locked_by_main(folder: str | Path) -> AbstractContextManager[None]:
    """:func:`locked` in the main of several processes, which launchers number; nothing in the others."""
    rank = next((os.environ[name] for name in RANKS if name in os.environ), '0')
    return locked(folder) if rank == '0' else nullcontext()


def is_taken(folder: str | Path) -> bool:
    """Whether a run works in a folder, this process's own included."""
    path = str(Path(folder).resolve())
    if path in _held:
        return True
    if fcntl is None:
        return False
    try:
        file = os.open(Path(path, LOCK), os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EACCES, errno.EAGAIN)
    finally:
        os.close(file)
    return False


def in_words(
    error: OSError, folder: str | Path, what: str = 'it', needed: int | None = None, rest: str = ''
) -> OSError:
    """What the system says when a folder is written to, as an error for people; the same error where it has no words.

    Args:
        folder: the folder that was written to.
        what: was written, 'the checkpoint'.
        needed: bytes of it.
        rest: what is left then, appended.
    """
    if isinstance(error, FolderError) or (words := _words(error, Path(folder), what, needed)) is None:
        return error
    return FolderError('; '.join(part for part in (words, rest) if part))


def size_in_words(size: int) -> str:
    """Bytes in the unit that people would use: '3.1 MB'."""
    power = next((power for power in (3, 6, 9) if size < 1000 * 10**power), 12)
    return f'{size / 10**power:.1f} {dict(zip((3, 6, 9, 12), ("kB", "MB", "GB", "TB")))[power]}'


def _words(error: OSError, folder: Path, what: str, needed: int | None) -> str | None:
    if error.errno in FULL:
        free = size_in_words(shutil.disk_usage(_existing(folder)).free)
        if needed is None:
            return f'{folder} is full: {free} are free'
        return f'{folder} is full: {what} needs {size_in_words(needed)}, {free} are free'
    if error.errno in FORBIDDEN:
        why = 'the file system is read-only' if error.errno == errno.EROFS else 'permission denied'
        return f'{folder} cannot be written to: {why}'
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        there = _existing(folder)
        return f'{there} is a file, where a folder is wanted' + ('' if there == folder else f' for {folder}')
    if error.errno == errno.ENAMETOOLONG:
        return f'the path {str(folder)[:80]}... is too long'
    return None


def _existing(path: Path) -> Path:
    return next(p for p in (path, *path.absolute().parents) if p.exists())


def _take(path: Path) -> int:
    """The lock file, open and locked."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            other = os.read(file, 400).decode(errors='replace').strip()
            os.close(file)
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                return -1  # a file system without locks
            raise FolderError(
                f'another run works in {path.parent}: {other or "it has just started"}\n'
                'wait for its end, or give this one a folder of its own (--work-dir)'
            ) from None
        if _is_at(file, path):
            break
        os.close(file)  # the one who had it has removed it
    command = ' '.join(sys.argv)[:200]
    words = f'process {os.getpid()} on {socket.gethostname()} since {time.strftime("%F %T")} ({command!r})'
    os.truncate(file, 0)
    os.write(file, words.encode())
    return file


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _release(file: int, path: Path) -> None:
    """Remove the lock while it is held, so that nobody takes a file that is about to go."""
    if file >= 0:
        if _is_at(file, path):
            path.unlink(missing_ok=True)
        os.close(file)
