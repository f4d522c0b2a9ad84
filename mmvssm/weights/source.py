"""Where a checkpoint is, whatever names it: a path, a URL, a published name."""

import os
from pathlib import Path
from typing import Any

from . import inert
from .download import download
from .errors import NotACheckpointError, place, quoted
from .published import PUBLISHED
from .read import existing_file, read_file


def read_checkpoint(source: str | os.PathLike) -> dict[str, Any]:
    """The content of a checkpoint file, as saved, with tensors on the CPU.

    Args:
        source: path, URL or published name (downloaded and cached) of a .pth / .pt / .ckpt / .th / .pth.tar /
            .safetensors file; the format is told by the content, not by the name.

    Returns:
        Objects other than tensors, numbers, strings and containers come back as `inert.Inert`: what a file pickles is
        never imported or called.

    Raises:
        CheckpointError: see errors.py; the message has two lines at most.
    """
    path = local_path(source)
    content = read_file(path)
    if isinstance(content, dict):
        return content
    what = repr(content) if isinstance(content, inert.Inert) else quoted(type(content).__name__)[1:-1]
    raise NotACheckpointError(
        f'{place(path)} holds {what}, not a state dict.\nSave the weights with torch.save(model.state_dict(), ...).'
    )


def local_path(source: str | os.PathLike) -> Path:
    """Local path for a path, URL or published checkpoint's name (downloaded into the cache).

    Raises:
        CheckpointError: there is none.
    """
    if '://' in str(source):
        return download(str(source))
    path = Path(os.path.expanduser(source))
    if str(source) in PUBLISHED and not path.exists():
        return download(PUBLISHED[str(source)].url)
    return existing_file(path)
