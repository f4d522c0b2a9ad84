"""The configs that come with the package: where they are, and finding one by name."""

import ast
import difflib
from pathlib import Path

from mmvssm.errors import UsageError

PACKAGE = Path(__file__).parent
# in a wheel where mim and mmengine look for them, in the source tree at its top
FOLDER = next(path for path in (PACKAGE / '.mim/configs', PACKAGE.parent / 'configs') if path.is_dir())


def names() -> list[str]:
    """Names for :func:`find`, the demo's with their folder: 'mask_rcnn_vmamba_t', 'demo/mask_rcnn_vim_nuclei'."""
    found = [*sorted(FOLDER.glob('*.py')), *sorted(FOLDER.glob('demo/*.py'))]
    return [path.relative_to(FOLDER).with_suffix('').as_posix() for path in found]


def about(path: Path) -> str:
    """The docstring of a config file, '' where it has none."""
    return ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or ''


def named(name: str) -> Path | None:
    """The file of a config's name, with or without folder and suffix; None where there is none."""
    asked = name.removesuffix('.py').removeprefix('configs/')
    for known in names():
        if asked in (known, known.rpartition('/')[2]):
            return FOLDER / f'{known}.py'
    return None


def find(name: str) -> Path:
    """A config file by its path or its name.

    Raises:
        UsageError: there is none; the message lists near names.
    """
    path = Path(name).expanduser()
    if path.suffix == '.py' and path.is_file():
        return path
    if (known := named(name)) is not None:
        return known
    raise UsageError(f'there is no config {name}{near(name, names())}\n`mmvssm config` lists those of the package')


def near(name: str, known: list[str]) -> str:
    """Words for a message: what a mistyped name may have meant."""
    asked = name.rpartition('/')[2].removesuffix('.py')
    by_last = {one.rpartition('/')[2]: one for one in known}
    meant = [by_last[word] for word in difflib.get_close_matches(asked, by_last, n=3, cutoff=0.6)]
    return f' (did you mean {", ".join(meant)}?)' if meant else ''
