"""The scripts that mmdet and mmseg bring along: found by name, run after what they need is in place."""

import importlib.util
import runpy
import sys
from pathlib import Path

from mmvssm import configs
from mmvssm.errors import UsageError

PACKAGES = ('mmdet', 'mmseg')


def names() -> list[str]:
    """All tools, as 'mmdet/analysis_tools/browse_dataset', in order."""
    return [f'{package}/{_place(path, folder)}' for package, folder in _folders() for path in _scripts(folder)]


def find(name: str) -> Path:
    """The script of a tool: its name, with or without package and folder; mmdet's where both packages have one.

    Raises:
        UsageError: there is none; the message lists near names.
    """
    package, slash, rest = name.removesuffix('.py').partition('/')
    asked = rest if slash and package in PACKAGES else name.removesuffix('.py')
    for own, folder in _folders():
        for path in _scripts(folder):
            if asked in (path.stem, _place(path, folder)) and (own == package or package not in PACKAGES):
                return path
    raise UsageError(f'there is no tool {name}{configs.near(name, names())}\n`mmvssm tool` lists those that there are')


def run(name: str, arguments: list[str]) -> None:
    """Run a tool as if from the command line; names of the package's configs become their paths."""
    script = find(name)
    import mmvssm.openmmlab  # noqa: F401 - what the tools import needs it

    sys.argv = [str(script), *map(_with_path, arguments)]
    sys.path.insert(0, str(script.parent))  # where Python looks first for what a script imports
    runpy.run_path(str(script), run_name='__main__')


def _with_path(argument: str) -> str:
    """A config's path for its name; anything else, and what is a file or folder, as it is."""
    known = None if argument.startswith('-') or Path(argument).exists() else configs.named(argument)
    return argument if known is None else str(known)


def _folders() -> list[tuple[str, Path]]:
    found = [(package, importlib.util.find_spec(package)) for package in PACKAGES]
    return [(package, Path(spec.origin).parent / '.mim/tools') for package, spec in found if spec and spec.origin]


def _scripts(folder: Path) -> list[Path]:
    """Those at the top first, then those of its folders."""
    found = (path for path in folder.rglob('*.py') if path.name != '__init__.py')
    return sorted(found, key=lambda path: (len(path.parts), path))


def _place(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix('').as_posix()
