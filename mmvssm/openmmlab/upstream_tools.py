"""The scripts that mmdet and mmseg bring along: found by name, run after what they need is in place."""

import contextlib
import functools
import importlib.util
import runpy
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import cv2

from mmvssm import configs
from mmvssm.errors import UsageError

PACKAGES = ('mmdet', 'mmseg')
PIP = {'pytorch_grad_cam': 'grad-cam'}  # where a package is called otherwise than what is imported
_OLD_FORM = 'it reads scores in the form of mmdet 2 and ends in an assertion'
REFUSED = {  # tools that run on no config: why
    'mmdet/analysis_tools/test_robustness': _OLD_FORM,
    'mmdet/analysis_tools/robustness_eval': _OLD_FORM,
    'mmdet/analysis_tools/fuse_results': 'it reads arguments by names that it has not, and would take widths and '
    "heights of COCO's boxes for corners; mmdet.models.utils.weighted_boxes_fusion fuses boxes given as corners",
}
SILENT = {'mmdet/analysis_tools/benchmark': 'psutil'}  # tools that fail otherwise than by an import without a package
# tool -> (how it fails on what it is not for, what it is for)
LIMITS: dict[str, tuple[tuple[type[Exception], ...], str]] = {
    'mmdet/analysis_tools/optimize_anchors': (
        (AttributeError, NotImplementedError),
        "it fits the anchors of YOLOv3's and SSD's heads, model.bbox_head.anchor_generator; this config has others",
    ),
    'mmdet/analysis_tools/coco_occluded_separated_recall': (
        (urllib.error.URLError,),
        "it fetches a list of occluded objects, which is of COCO's val2017 and of no other data set",
    ),
    'mmdet/analysis_tools/analyze_logs': (
        (KeyError,),
        'the log has no such key (scores are coco/bbox_mAP) at --eval-interval; `mmvssm draw curves` finds them',
    ),
    'mmseg/analysis_tools/browse_dataset': (
        (cv2.error,),
        'mmsegmentation before 1.3 draws into an array that OpenCV refuses; `mmvssm draw samples` shows the same',
    ),
    'mmdet/analysis_tools/benchmark': ((ZeroDivisionError,), 'it measures from the sixth iteration on: --max-iter'),
}


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
    """Run a tool as if from the command line; names of the package's configs become their paths.

    Raises:
        UsageError: there is no such tool, or a package that it asks for is not installed.
    """
    script = find(name)
    package, folder = next((package, folder) for package, folder in _folders() if folder in script.parents)
    full_name = f'{package}/{_place(script, folder)}'
    if full_name in REFUSED:
        raise UsageError(f'the tool {name} does not run: {REFUSED[full_name]}')
    if (needed := SILENT.get(full_name)) is not None and importlib.util.find_spec(needed) is None:
        raise _missing(name, needed)
    import mmvssm.openmmlab  # noqa: F401 - what the tools import needs it

    sys.argv = [str(script), *map(_with_path, arguments)]
    # where Python looks first for what a script imports, and where those look that ask for `tools.analysis_tools`
    sys.path[:0] = [str(script.parent), str(folder.parent)]
    _name_styles()
    expected, reason = LIMITS.get(full_name, ((), ''))
    with _own_packages('tools'), _own_classes(full_name):
        try:
            runpy.run_path(str(script), run_name='__main__')
        except ModuleNotFoundError as error:
            raise _missing(name, (error.name or '').partition('.')[0]) from error
        except RuntimeError as error:
            if 'NVIDIA' not in str(error):
                raise
            raise UsageError(f'the tool {name} needs a GPU') from error
        except expected as error:
            raise UsageError(f'the tool {name} does not run on this: {reason}') from error


def _missing(tool: str, package: str) -> UsageError:
    name = PIP.get(package, package)
    return UsageError(f'the tool {tool} needs {package}, which is not installed: pip install {name}')


@contextlib.contextmanager
def _own_classes(tool: str) -> Iterator[None]:
    """mmseg's confusion_matrix asks a data set's class for its names, where a config's `metainfo` is not."""
    if tool != 'mmseg/analysis_tools/confusion_matrix':
        yield
        return
    from mmseg.datasets import BaseSegDataset

    build = BaseSegDataset.__init__

    @functools.wraps(build)
    def build_with_names(self, *args, **kwargs):
        build(self, *args, **kwargs)
        self.METAINFO = dict(self.METAINFO, **self.metainfo)

    BaseSegDataset.__init__ = build_with_names
    try:
        yield
    finally:
        BaseSegDataset.__init__ = build


def _name_styles() -> None:
    """mmdet draws in the style 'dark', which older releases of seaborn put into matplotlib."""
    with contextlib.suppress(ImportError, KeyError):
        from matplotlib import style

        style.library.setdefault('dark', style.library['seaborn-v0_8-dark'])


@contextlib.contextmanager
def _own_packages(name: str) -> Iterator[None]:
    """A package of that name that was imported from elsewhere does not stand in a tool's way."""
    held = {key: sys.modules.pop(key) for key in [*sys.modules] if key == name or key.startswith(f'{name}.')}
    try:
        yield
    finally:
        sys.modules.update(held)


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
