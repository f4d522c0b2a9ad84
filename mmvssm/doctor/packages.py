"""Versions of what it stands on, held against what the package asks for."""

import re
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from .finding import ERROR, NOTE, WARNING, Finding

# distributions that bring a module, the maintained one first
OPENMMLAB = {
    'mmengine': ('onedl-mmengine', 'mmengine', 'mmengine-lite'),
    'mmcv': ('onedl-mmcv', 'mmcv', 'mmcv-lite'),
    'mmdet': ('onedl-mmdetection', 'mmdet'),
    'mmseg': ('onedl-mmsegmentation', 'mmsegmentation'),
}
BESIDE = ('triton', 'pycocotools', 'opencv-python-headless', 'matplotlib')
INSTALL_MM = 'pip install "mmvssm[mm]"'


def installed(name: str) -> str:
    """A distribution's version, '' where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ''


def versions() -> dict[str, str]:
    """Distribution -> version, '' for what is missing."""
    base = {requirement.name: installed(requirement.name) for requirement in needed()}
    mm = {}
    for module, names in OPENMMLAB.items():
        present = [name for name in names if installed(name)]
        mm.update({name: installed(name) for name in present} or {module: ''})
    return {'mmvssm': installed('mmvssm') or _own(), **base, **mm, **{name: installed(name) for name in BESIDE}}


def _own() -> str:
    import mmvssm

    return mmvssm.__version__


def needed() -> list[Requirement]:
    """What the package itself requires here, extras aside."""
    try:
        given = requires('mmvssm') or []
    except PackageNotFoundError:  # run from a source tree that was never installed
        given = ['torch>=2.6', 'torchvision>=0.21', 'timm>=1.0.15', 'numpy>=1.26', 'safetensors>=0.5']
    found = [Requirement(text) for text in given if not re.search(r'\bextra\b', text)]
    return [one for one in found if one.marker is None or one.marker.evaluate()]


def findings() -> list[Finding]:
    """Missing and old packages, two builds of OpenCV, half an OpenMMLab."""
    found = []
    for requirement in needed():
        have = installed(requirement.name)
        if not have:
            found.append(Finding(ERROR, f'{requirement.name} is not installed', f'pip install "{requirement.name}"'))
        elif not requirement.specifier.contains(have, prereleases=True):
            what = f'{requirement.name} {have} does not fit: {requirement.specifier} is needed'
            found.append(Finding(WARNING, what, f'pip install "{requirement.name}{requirement.specifier}"'))
    return found + _openmmlab() + _opencv()


def _openmmlab() -> list[Finding]:
    missing = [module for module, names in OPENMMLAB.items() if not any(map(installed, names))]
    if missing:
        what = f'{", ".join(missing)} not installed: no detectors or segmentors, backbones for timm and PyTorch alone'
        return [Finding(ERROR, what, INSTALL_MM)]
    twice = [names for names in OPENMMLAB.values() if sum(map(bool, map(installed, names))) > 1]
    return [
        Finding(
            WARNING, f'{" and ".join(n for n in names if installed(n))} share their files', f'keep {names[0]} alone'
        )
        for names in twice
    ]


def _opencv() -> list[Finding]:
    builds = [name for name in ('opencv-python', 'opencv-python-headless', 'opencv-contrib-python') if installed(name)]
    if len(builds) < 2:
        return []
    remedy = f'pip uninstall {" ".join(builds)}; pip install opencv-python-headless'
    return [Finding(NOTE, f'{" and ".join(builds)} share their files', remedy)]
