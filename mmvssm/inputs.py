"""Images out of files, folders, globs, URLs, videos and cameras: RGB arrays, one at a time."""

import glob
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mmvssm.errors import UsageError

IMAGES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.gif', '.ppm', '.pgm', '.jp2')
VIDEOS = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg')
STREAMS = ('rtsp', 'rtmp', 'udp', 'tcp')
TIMEOUT = 30  # seconds without an answer of a server


@dataclass(frozen=True)
class Source:
    """Where images come from.

    Attributes:
        name: as the user gave it, or found in a folder.
        opened: a path, a stream's URL or a camera's number.
        kind: 'image', 'video', 'camera' or 'missing'.
    """

    name: str
    opened: str | int
    kind: str


@dataclass(frozen=True)
class Frame:
    """An image.

    Attributes:
        source: of it.
        image: (H, W, 3) uint8, RGB, upright as its EXIF data say.
        index: of a video's or camera's frame, else None.
        rate: frames a second, of a video or camera.
    """

    source: Source
    image: np.ndarray
    index: int | None = None
    rate: float = 0.0


class Unreadable(ValueError):
    """An input that is no image or video, or not there; the message names it."""


def find(inputs: Sequence[str]) -> list[Source]:
    """The sources that words on a command line name, folders and globs opened out and sorted, each once.

    Args:
        inputs: paths, folders (searched to any depth), globs (`**` too), URLs and camera numbers.

    Raises:
        UsageError: a folder or a glob in which there is no image or video.
    """
    found = [source for word in inputs for source in _expand(word)]
    return list({source.opened: source for source in found}.values())


def _expand(word: str) -> list[Source]:
    path = Path(word).expanduser()
    if word.isdigit() and not path.exists():
        return [Source(f'camera {word}', int(word), 'camera')]
    if '://' in word:
        return [_address(word)]
    if path.is_dir():
        inside = [str(one) for one in path.rglob('*') if one.suffix.lower() in (*IMAGES, *VIDEOS)]
        return _files(word, inside, 'in this folder')
    if not path.exists() and glob.has_magic(word):
        return _files(word, glob.glob(str(path), recursive=True), 'that fits this pattern')
    return [_file(word)]


def _files(word: str, paths: list[str], where: str) -> list[Source]:
    found = [_file(path) for path in sorted(paths) if Path(path).is_file()]
    if not found:
        raise UsageError(f'{word}: there is no image or video {where}')
    return found


def _file(path: str) -> Source:
    whole = Path(path).expanduser()
    kind = ('video' if whole.suffix.lower() in VIDEOS else 'image') if whole.is_file() else 'missing'
    return Source(path, str(whole), kind)


def _address(url: str) -> Source:
    if urlparse(url).scheme in STREAMS:
        return Source(url, url, 'camera')
    return Source(url, url, 'video' if Path(urlparse(url).path).suffix.lower() in VIDEOS else 'image')


def number_of_frames(source: Source) -> int:
    """How many frames a source has, as far as it says: 1 of an image, 0 of a camera."""
    if source.kind != 'video' or '://' in str(source.opened):
        return int(source.kind != 'camera')
    video = cv2.VideoCapture(str(source.opened))
    count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    video.release()
    return max(count, 0)


def read(source: Source) -> Iterator[Frame]:
    """The images of a source, in order; a camera's never end.

    Raises:
        Unreadable: nothing is there, or it is no image or video.
    """
    if source.kind == 'missing':
        raise Unreadable(f'{source.name}: there is no such file')
    if source.kind == 'camera':
        yield from _frames(source, source.opened)
    elif '://' in str(source.opened):
        with tempfile.TemporaryDirectory() as folder:
            local = _download(source, Path(folder))
            yield from _frames(source, str(local)) if source.kind == 'video' else [Frame(source, _image(source, local))]
    elif source.kind == 'video':
        yield from _frames(source, source.opened)
    else:
        yield Frame(source, _image(source, Path(str(source.opened))))


def file_name(source: Source) -> str:
    """A file name for what is made of a source: that of its file, or words."""
    if '://' in source.name:
        return Path(unquote(urlparse(source.name).path)).name or urlparse(source.name).netloc
    return Path(source.name).name if source.kind != 'camera' else source.name.replace(' ', '_')


def _download(source: Source, folder: Path) -> Path:
    path = folder / 'input'
    request = urllib.request.Request(source.name, headers={'User-Agent': 'mmvssm'})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            path.write_bytes(answer.read())
    except (OSError, ValueError) as error:
        raise Unreadable(f'{source.name}: {error}') from None
    return path


def _image(source: Source, path: Path) -> np.ndarray:
    try:
        with Image.open(path) as opened:
            return _rgb(ImageOps.exif_transpose(opened))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        what = 'it is empty' if path.is_file() and not path.stat().st_size else _reason(error)
        raise Unreadable(f'{source.name}: {what}') from None


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return 'it is no image of a known format'
    return str(error) or 'it cannot be read'


def _rgb(image: Image.Image) -> np.ndarray:
    """8-bit RGB; of deeper pictures (16-bit, float) the range of their values is spread."""
    if image.mode[0] in 'IF':
        values = np.asarray(image, np.float32)
        low, high = (0, 65535) if image.mode.startswith('I;16') else (values.min(), values.max())
        spread = np.clip((values - low) / max(high - low, 1e-9), 0, 1) * 255
        image = Image.fromarray(spread.astype(np.uint8))
    return np.array(image.convert('RGB'))


def _frames(source: Source, opened: str | int) -> Iterator[Frame]:
    video = cv2.VideoCapture(opened)
    try:
        rate = video.get(cv2.CAP_PROP_FPS)
        read, frame = video.read()
        if not read:
            raise Unreadable(f'{source.name}: no frame can be read from it')
        index = 0
        while read:
            yield Frame(source, np.ascontiguousarray(frame[..., ::-1]), index, rate if 0 < rate < 1000 else 25.0)
            index += 1
            read, frame = video.read()
    finally:
        video.release()
