"""Fetching a checkpoint: resumed where it broke off, checked, and in place only when it is complete.

Files land in torch's cache (`$TORCH_HOME/hub/checkpoints`), those of huggingface.co in huggingface_hub's (`$HF_HOME`).
Proxies are taken from the usual environment variables. `MMVSSM_OFFLINE=1` or `HF_HUB_OFFLINE=1` forbids downloads, as
any other value does but 0, false, no, off and none at all.
"""

import base64
import errno
import hashlib
import http.client
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from tqdm import tqdm

from . import pace
from .errors import CheckpointError, DownloadError, first_line, listed, place, redacted, shown
from .published import PUBLISHED, Checkpoint, find
from .read import check_file, existing_file

CHUNK = 1 << 20
RETRIES = 5  # attempts in a row that bring nothing
TIMEOUT = 30.0  # seconds without a byte
MOST_BYTES = 1 << 35  # of a file
RESERVE = 1 << 28  # bytes of the disk that are left free
BACKOFF = 1.0  # seconds before the first repetition, then doubled
LOCAL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EISDIR, errno.ENOTDIR)
WORTH_REPEATING = (408, 425, 429, 500, 502, 503, 504)
HUB_WEIGHTS = ('model.safetensors', 'pytorch_model.bin', 'pytorch_model.pth', 'model.pth')  # in a folder, best first
HUB_FILE = re.compile(r'https://(?:huggingface\.co|hf\.co)/([^/]+/[^/]+)/resolve/([^/]+)/([^?#]+)(?:\?[^#]*)?')


def offline() -> str:
    """The name of the environment variable that forbids downloads; empty where none does."""
    names = ('MMVSSM_OFFLINE', 'HF_HUB_OFFLINE')
    return next((name for name in names if os.environ.get(name, '').lower() not in ('', '0', 'false', 'no', 'off')), '')


def cache_path(url: str, cache_dir: str | Path | None = None) -> Path:
    """Where a URL's file is kept (and may be put by hand).

    A registered checkpoint keeps its published name; any other URL's file carries a digest of the URL, since two
    servers may use one name.
    """
    folder = Path(cache_dir) if cache_dir else Path(torch.hub.get_dir()) / 'checkpoints'
    name = re.sub(r'[^\w.\-]', '_', urllib.parse.urlsplit(url).path.rsplit('/', 1)[-1]) or 'checkpoint'
    if not any(url == c.url for c in PUBLISHED.values()):
        stem, dot, suffix = name.partition('.')
        name = f'{stem}-{hashlib.sha256(url.encode()).hexdigest()[:8]}{dot}{suffix}'
    return folder / name


def fetch(checkpoint: Checkpoint | str, *, cache_dir: str | Path | None = None, progress: bool = True) -> Path:
    """Path of a published checkpoint, downloaded where it is not there yet.

    Args:
        checkpoint: an entry of PUBLISHED, its name, or a variant's name for its ImageNet weights.
        cache_dir: folder to use in place of torch's.
        progress: show a bar.

    Raises:
        ValueError: a name without weights (near ones are listed).
        DownloadError: the file cannot be had.
    """
    checkpoint = find(checkpoint) if isinstance(checkpoint, str) else checkpoint
    return download(checkpoint.url, cache_dir=cache_dir, sha256=checkpoint.sha256, progress=progress)


def download(
    url: str, *, cache_dir: str | Path | None = None, sha256: str | None = None, progress: bool = True
) -> Path:
    """Path of a URL's file, downloaded into the cache where it is not there yet.

    A download that broke off (in this process or an earlier one) goes on where it stopped, provided that the server's
    file is still the same. No incomplete or unreadable file ever stands under the returned name.

    Args:
        url: of one of the `SCHEMES`.
        cache_dir: folder to use in place of torch's.
        sha256: hexadecimal checksum of the file, where known.
        progress: show a bar.

    Raises:
        DownloadError: it cannot be had; the message says what to do.
    """
    scheme, host, _ = _parts(url)
    if scheme not in SCHEMES or not (host or scheme == 'file'):
        raise DownloadError(f'{place(url)} cannot be downloaded.\nGive an http, https or file URL, or a path.')
    return SCHEMES[scheme](url, cache_dir=cache_dir, sha256=sha256, progress=progress)


def _local_file(url: str, **_: Any) -> Path:
    return existing_file(Path(urllib.request.url2pathname(_parts(url)[2])))


def _from_web(url: str, *, cache_dir: str | Path | None, sha256: str | None, progress: bool) -> Path:
    path = cache_path(url, cache_dir)
    if path.is_file():
        return path
    on_hub = HUB_FILE.fullmatch(url)
    if variable := offline():
        cached = _in_hub_cache(on_hub, cache_dir) if on_hub else None
        if cached:
            return cached
        raise DownloadError(
            f'{path.name} is not in the cache, and {variable} forbids downloads.\n'
            f'Fetch {place(url)} elsewhere and put it at {path}.'
        )
    if on_hub:
        return _from_hub(on_hub, cache_dir)
    part = path.with_name(path.name + '.part')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f'{path}.lock'):  # ranks of one training ask for the same file at the same time
            if not path.is_file():
                _complete(url, part, progress)
                _check(url, part, sha256)
                os.replace(part, path)
                _notes(part).unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DownloadError(
            f'{part} cannot be written: {reason}.\nFree it, or set TORCH_HOME to another folder.'
        ) from None
    return path


# scheme of a URL -> what makes a local path of it
SCHEMES: dict[str, Callable[..., Path]] = {'file': _local_file, 'http': _from_web, 'https': _from_web}


def _parts(url: str) -> tuple[str, str, str]:
    """Scheme, host and path of a URL; no host where none could be asked for it: characters to be quoted, a bad port."""
    try:
        parts = urllib.parse.urlsplit(url)
        host = (parts.hostname or '').encode('idna').decode()
        sound = parts.port != 0 and (parts.path + parts.query).isascii() and not re.search(r'[\x00-\x20\x7f]', url)
    except ValueError:  # brackets left open, a port that is no number, an empty label
        return '', '', ''
    return parts.scheme.lower(), host if sound else '', parts.path


def fetch_from_hub(
    get: Callable[..., str], repo: str, filename: str | None = None, *, cache_dir: str | Path | None = None
) -> Path:
    """Path of the weights in a repository of huggingface.co.

    Args:
        get: timm's function (repo, filename, cache_dir=) -> path, with which it reads the repository's configuration
            too.
        repo: 'OWNER/NAME' or 'OWNER/NAME@REVISION'.
        filename: the file in it; by default the first of timm's names that is there.
        cache_dir: folder to use in place of huggingface_hub's.

    Raises:
        DownloadError: there is none or it cannot be had.
    """
    for name in [filename] if filename else HUB_WEIGHTS:
        try:
            return Path(get(repo, name, cache_dir=cache_dir))
        except Exception as error:  # many kinds, over several versions of huggingface_hub
            problem = first_line(error, 160)
            if 'EntryNotFound' not in type(error).__name__:
                break
    raise DownloadError(
        f'{shown(filename or "weights")} of {place(repo)} could not be downloaded from huggingface.co: {problem}\n'
        'Fetch the file in a browser and give its path.'
    )


def weights_in(folder: str | os.PathLike) -> Path:
    """Path of the weights in a folder that was saved for the hub.

    Raises:
        CheckpointError: there are none, or several.
    """
    known = [path for name in HUB_WEIGHTS if (path := Path(folder, name)).is_file()]
    files = known[:1] or [
        path for path in sorted(Path(folder).glob('*')) if path.suffix in ('.safetensors', '.pth', '.bin')
    ]
    if len(files) == 1:
        return files[0]
    found = listed([path.name for path in files], 8) or 'none'
    raise CheckpointError(
        f'{place(folder)} must hold one file of weights, {HUB_WEIGHTS[0]} or the like; found: {found}.'
    )


def _complete(url: str, part: Path, progress: bool) -> None:
    """Brings `part` to its full length, over as many connections as bring something."""
    failures = 0
    most = part.stat().st_size if part.exists() else 0
    since = time.monotonic()
    while True:
        try:
            return _transfer(url, part, progress)
        except CheckpointError:
            raise
        except urllib.error.HTTPError as error:
            problem = f'answers {error.code} {first_line(error.reason or "", 80)}'
            if error.code not in WORTH_REPEATING:
                raise DownloadError(f'{place(url)} {problem}.\n{_advice(error.code)}') from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            if getattr(error, 'errno', None) in LOCAL_ERRORS:
                raise
            how = 'cannot be reached' if isinstance(error, urllib.error.URLError) else 'broke off'
            problem = f'{how}: {first_line(getattr(error, "reason", error))}'
        after = part.stat().st_size if part.exists() else 0
        # starting over and over is no progress, nor is a byte a connection
        enough = max(1, pace.LEAST_RATE * (time.monotonic() - since))
        failures = 0 if after - most >= enough else failures + 1
        most, since = max(most, after), time.monotonic()
        if failures >= RETRIES:
            raise DownloadError(
                f'{place(url)} {problem[:160]} ({after} bytes so far, {RETRIES} attempts without progress).\n'
                + _try_again(after, part)
            )
        time.sleep(min(BACKOFF * 2 ** max(failures - 1, 0), 30.0))


def _try_again(size: int, part: Path) -> str:
    if size:
        return 'Try again later: the download goes on where it stopped.'
    return f'Check the address and try again later, or fetch it elsewhere and put it at {part.with_suffix("")}.'


def _transfer(url: str, part: Path, progress: bool) -> None:
    """One connection: appends to `part` what is missing. Returns when the file is complete, raises otherwise."""
    notes = _read_notes(part, url)
    plain, credentials = _credentials(url)
    have = part.stat().st_size if part.exists() and notes else 0
    if have and have == notes.get('total'):
        return
    headers = {'User-Agent': 'mmvssm', 'Accept-Encoding': 'identity'}
    if have:
        headers['Range'] = f'bytes={have}-'
        if notes.get('validator'):
            headers['If-Range'] = notes['validator']
    request = urllib.request.Request(plain, headers=headers)
    if credentials:
        request.add_unredirected_header('Authorization', credentials)
    try:
        # an opener of its own: the global one keeps the proxies that it found when it was first used
        reply = pace.opener().open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:
            part.unlink()
            raise ConnectionError('the file on the server is shorter than announced') from None
        raise
    with reply:
        total, resumed = _expected(reply, have, notes)
        validator = reply.headers.get('ETag') or reply.headers.get('Last-Modified') or ''
        if validator.startswith('W/'):  # a weak ETag must not be used in If-Range
            validator = reply.headers.get('Last-Modified') or ''
        room = _room(url, part, total, have if resumed else 0)
        if not resumed:
            part.unlink(missing_ok=True)  # before the notes on the new file, lest the two be joined after a crash
        _notes(part).write_text(json.dumps({'url': redacted(url), 'total': total, 'validator': validator}))
        with open(part, 'ab' if resumed else 'wb') as file:
            start, name = file.tell(), part.name.removesuffix('.part')
            style = dict(unit='B', unit_scale=True, leave=False, disable=not progress)
            with tqdm(total=total, initial=start, desc=name, **style) as bar:
                while data := reply.read1(CHUNK):
                    if file.tell() + len(data) > room:
                        _discard(part)
                        raise _too_large(url, f'goes on after {file.tell():,} bytes', room)
                    file.write(data)
                    bar.update(len(data))
            size = file.tell()
    if total is not None and size != total:
        raise ConnectionError(f'{size} of {total} bytes came')


def _credentials(url: str) -> tuple[str, str]:
    """A URL without user and password, and the header that says them to its own server (and to no other)."""
    parts = urllib.parse.urlsplit(url)
    user, at, host = parts.netloc.rpartition('@')
    given = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
    return parts._replace(netloc=host).geturl() if at else url, f'Basic {given}' if at else ''


def _room(url: str, part: Path, total: int | None, have: int) -> int:
    """The most bytes that the file may have: what the disk has left beside a reserve, and no more than any checkpoint.

    Raises:
        DownloadError: it announces more.
    """
    room = min(MOST_BYTES, have + max(shutil.disk_usage(part.parent).free - RESERVE, 0))
    if total is not None and total > room:
        raise _too_large(url, f'is {total:,} bytes long', room)
    return room


def _too_large(url: str, what: str, room: int) -> DownloadError:
    return DownloadError(
        f'{place(url)} {what}; {room:,} are allowed ({MOST_BYTES:,} at most, {RESERVE:,} of the disk stay free).\n'
        'Free the disk, set TORCH_HOME to another folder, or download it in a browser and give the path of the file.'
    )


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _notes(part).unlink(missing_ok=True)


def _expected(reply: Any, have: int, notes: dict[str, Any]) -> tuple[int | None, bool]:
    """Length of the whole file as the headers tell it, and whether the reply goes on where `part` ends."""
    if reply.status == 206:
        match = re.fullmatch(r'bytes (\d+)-\d+/(\d+|\*)', reply.headers.get('Content-Range', ''))
        total = int(match[2]) if match and match[2] != '*' else None
        if not match or int(match[1]) != have or (notes.get('total') is not None and total != notes['total']):
            raise ConnectionError('the server sent another part than was asked for')
        return total, True
    length = reply.headers.get('Content-Length')
    return (int(length) if length and length.isdigit() else None), False


def _notes(part: Path) -> Path:
    """The small file beside a `.part` that says what it is a part of."""
    return part.with_name(part.name + '.json')


def _read_notes(part: Path, url: str) -> dict[str, Any]:
    """The notes on a URL's part; empty where there are none, or of another URL."""
    try:
        notes = json.loads(_notes(part).read_text())
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) and notes.get('url') == redacted(url) else {}


def _check(url: str, part: Path, sha256: str | None) -> None:
    """Removes a complete download that is not the file it should be, and says so."""
    try:
        check_file(part)
        found = file_digest(part) if sha256 else None
        problem = '' if found == sha256 else f'its checksum is {found}, not {sha256}'
    except CheckpointError as error:
        problem = str(error).splitlines()[0].replace(place(part), 'it').rstrip('.')
    if problem:
        _discard(part)
        raise DownloadError(
            f'{place(url)} did not give the checkpoint: {problem}.\n'
            'The server may be faulty or want a login: download it in a browser and give the path of the file.'
        )


def file_digest(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while data := file.read(CHUNK):
            digest.update(data)
    return digest.hexdigest()


def _advice(code: int) -> str:
    if code in (401, 403):
        return 'It asks for a login: download it in a browser and give the path of the file.'
    if 300 <= code < 400:
        return 'Its redirections do not end or lead nowhere: download it in a browser and give the path of the file.'
    return 'Check the address; `python tools/weights.py list` shows the published ones.'


def _in_hub_cache(place: re.Match[str], cache_dir: str | Path | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    repo, revision, name = place.groups()
    found = try_to_load_from_cache(repo, name, revision=revision, cache_dir=cache_dir)
    return Path(found) if isinstance(found, str) else None


def _from_hub(place: re.Match[str], cache_dir: str | Path | None) -> Path:
    """A file of huggingface.co through its own client: its cache, tokens, mirrors (HF_ENDPOINT) and resumption."""
    from huggingface_hub import hf_hub_download

    repo, revision, name = place.groups()
    try:
        return Path(hf_hub_download(repo, name, revision=revision, cache_dir=cache_dir))
    except Exception as error:  # many kinds, over several versions of huggingface_hub
        raise DownloadError(
            f'{place[0]} could not be downloaded: {first_line(error, 160)}\n'
            f'Fetch it in a browser and put it at {cache_path(place[0], cache_dir)}.'
        ) from None
