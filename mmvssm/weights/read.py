"""Reading a checkpoint file, whatever its format, without running anything that it holds."""

import os
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import inert
from .content import check_content
from .errors import (
    CheckpointError,
    DamagedFileError,
    NotACheckpointError,
    UnsafePickleError,
    first_line,
    naming,
    place,
    quoted,
)
from .packing import restore

OTHER_FILES = [
    (
        b'version https://git-lfs',
        'a git-lfs pointer, not the file itself',
        'Run `git lfs pull`, or download it again.',
    ),
    (b'\x1f\x8b', 'a gzip archive', 'Unpack it first.'),
    (b'BZh', 'a bzip2 archive', 'Unpack it first.'),
    (b'\xfd7zXZ', 'an xz archive', 'Unpack it first.'),
    (b'\x89HDF', 'an HDF5 file', 'Export the weights with torch.save or as .safetensors.'),
    (b'\x93NUMPY', 'a numpy array', 'Export the weights with torch.save or as .safetensors.'),
    (b'GGUF', 'a GGUF file', 'Export the weights with torch.save or as .safetensors.'),
    (b'\x89PNG', 'a picture', 'Give the path of a checkpoint.'),
    (b'\xff\xd8\xff', 'a picture', 'Give the path of a checkpoint.'),
]


# what is a pickle by its name: a torch archive holds one, data.pkl
PICKLES = ('.pkl', '.pickle', '.joblib', '.bin', '.pt', '.pth', '.ckpt')


def sniff(path: Path) -> str:
    """The format of a file by its content: 'zip', 'legacy' (torch's older stream) or 'safetensors'.

    Raises:
        NotACheckpointError: it is of none, and the message says what it is instead.
        DamagedFileError: it is cut off or blank.
    """
    size = os.path.getsize(path)
    with open(path, 'rb') as file:
        head = file.read(512)
    if not head:
        raise NotACheckpointError(f'{place(path)} is empty.\nDelete it and download it again.')
    if head[:4] == b'PK\x03\x04':
        return 'zip'
    if head.startswith(inert.LEGACY_START):
        return 'legacy'
    if len(head) > 8 and head[8:9] == b'{' and int.from_bytes(head[:8], 'little') < max(size, 100_000_000):
        return 'safetensors'
    text = head.lstrip().lower()
    if text.startswith((b'<!doctype', b'<html', b'<?xml', b'<head')):
        raise NotACheckpointError(
            f'{place(path)} is a web page, probably an error page saved in place of the file.\n'
            'Delete it and download it again.'
        )
    for start, what, advice in OTHER_FILES:
        if head.startswith(start):
            raise NotACheckpointError(f'{place(path)} is {what}.\n{advice}')
    if inert.LEGACY_START.startswith(head) or not head.strip(b'\0'):
        raise DamagedFileError(f'{place(path)} is cut off or blank ({size} bytes).\nDelete it and download it again.')
    raise NotACheckpointError(
        f'{place(path)} is neither a torch checkpoint nor a safetensors file (it starts with {head[:12]!r}).\n'
        'If it is an older pickle, load it where it was written and save it again with torch.save.'
    )


def check_entries(archive: zipfile.ZipFile, path: Path) -> None:
    """Every name stands in a torch archive once, one is a pickle's, no entry lies within another: they fit in the file.

    Raises:
        DamagedFileError: it was made so that readers differ, or grow on it.
    """
    names = Counter(archive.namelist())
    double = next((name for name, count in names.items() if count > 1), None)
    if double is not None or sum(name.lower().endswith(PICKLES) for name in names) > 1:
        what = 'two pickles' if double is None else f'{quoted(double)} twice'
        raise DamagedFileError(f'{place(path)} is damaged: it holds {what}.\nDelete it and download it again.')
    if sum(info.file_size for info in archive.infolist()) > os.path.getsize(path):
        raise DamagedFileError(
            f'{place(path)} is damaged: its files are longer than itself.\nDelete it and download it again.'
        )


def check_zip(path: Path) -> None:
    """Compares every entry of a torch zip archive with its checksum, which torch.load does not do.

    Raises:
        NotACheckpointError: it is an archive of something else.
        DamagedFileError: a checksum is wrong, or the archive cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if not any(name.endswith('/data.pkl') or name == 'data.pkl' for name in names):
                raise NotACheckpointError(
                    f'{place(path)} is a zip archive of {len(names)} files, but not a torch checkpoint.\n'
                    'If the checkpoint is inside, unpack it first.'
                )
            if any(name.endswith('/constants.pkl') for name in names):
                raise NotACheckpointError(
                    f'{place(path)} is a TorchScript program, not a state dict.\n'
                    'Save its weights with torch.save(module.state_dict(), ...).'
                )
            if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                raise NotACheckpointError(
                    f'{place(path)} is a compressed archive, which torch.save does not write.\nUnpack it first.'
                )
            check_entries(archive, path)
            bad = archive.testzip()
    except CheckpointError:
        raise
    except Exception as error:  # zipfile raises many kinds on a damaged archive
        raise DamagedFileError(
            f'{place(path)} is cut off or damaged ({first_line(error)}).\nDelete it and download it again.'
        ) from None
    if bad is not None:
        raise DamagedFileError(
            f'{place(path)} is damaged: the checksum of {quoted(bad)} is wrong.\nDelete it and download it again.'
        )


def check_file(path: Path) -> str:
    """Checks a file's format and integrity without building its tensors.

    Returns:
        What `sniff` says.

    Raises:
        NotACheckpointError: it is something else.
        DamagedFileError: it is cut off or altered.
    """
    with explained(path):
        kind = sniff(path)
        if kind == 'zip':
            check_zip(path)
        elif kind == 'safetensors':
            _read_safetensors(path, names_only=True)
        else:
            _read_torch(path, kind)
    return kind


def _read_torch(path: Path, kind: str) -> Any:
    if kind == 'zip':
        check_zip(path)
    try:
        content = inert.load(path)
    except UnsafePickleError as error:
        raise UnsafePickleError(
            f'{place(path)} {error}, which no checkpoint needs; nothing of it was run.\n'
            'Do not open this file with plain torch.load; get the weights from a source you trust.'
        ) from None
    except DamagedFileError as error:
        raise DamagedFileError(
            f'{place(path)} is cut off or damaged: {error}.\nDelete it and download it again.'
        ) from None
    except CheckpointError as error:
        raise CheckpointError(f'{place(path)} {error}') from None
    with naming(path):
        check_content(content)
    return content


def _read_safetensors(path: Path, names_only: bool = False) -> dict[str, Any]:
    from safetensors import safe_open

    try:
        with safe_open(path, framework='pt') as file:
            order = file.offset_keys() if hasattr(file, 'offset_keys') else file.keys()
            if names_only:
                return dict.fromkeys(order)
            # copies: the tensors that safetensors gives are maps of the file, which may be overwritten
            content = restore(file.metadata(), {name: file.get_tensor(name).clone() for name in order})
    except Exception as error:  # SafetensorError, and whatever a damaged header leads to
        raise DamagedFileError(
            f'{place(path)} is a cut off or damaged safetensors file ({first_line(error)}).\n'
            'Delete it and download it again.'
        ) from None
    with naming(path):
        check_content(content)
    return content


def read_file(path: Path) -> Any:
    """The content of a file whose format `sniff` tells, with tensors on the CPU."""
    with explained(path):
        kind = sniff(path)
        return _read_safetensors(path) if kind == 'safetensors' else _read_torch(path, kind)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """What the system says against a path, in words.

    Raises:
        CheckpointError: in place of an OSError, or of a ValueError for a path that none can be.
    """
    try:
        yield
    except CheckpointError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or first_line(error)
        raise CheckpointError(
            f'{place(path)} cannot be read: {reason}.\nGive the path of an existing file that you may read.'
        ) from None


def existing_file(path: Path) -> Path:
    """The path itself.

    Raises:
        CheckpointError: it is a folder, or nothing.
    """
    with explained(path):
        os.stat(path) if '\0' in str(path) else None  # pathlib takes it for a file that is missing
        is_dir, is_file = path.is_dir(), path.is_file()
    if is_dir:
        raise CheckpointError(f'{place(path)} is a folder, not a checkpoint file.\nGive the path of the file in it.')
    if not is_file:
        raise CheckpointError(
            f'there is no checkpoint file {place(path)}.\nGive an existing path, or a URL to download it from.'
        )
    return path
