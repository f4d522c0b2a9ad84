"""setuptools as a build backend (PEP 517), with an editable install (PEP 660) that a folder called mmvssm cannot hide.

Of an editable setuptools package, Python finds a folder of the same name on the path first, the clone itself for a
script beside it, and takes it for an empty namespace package. A regular package wins over that, so here one is
installed which loads the real one in its place.
"""

import base64
import hashlib
import tempfile
import zipfile
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403

SOURCE = Path(__file__).resolve().parents[1] / 'mmvssm/__init__.py'
STAND_IN = f'''"""Loads mmvssm from its source tree."""

import sys
from importlib.util import module_from_spec, spec_from_file_location

spec = spec_from_file_location('mmvssm', {str(SOURCE)!r})
sys.modules['mmvssm'] = module = module_from_spec(spec)
spec.loader.exec_module(module)
'''
WHEEL = 'Wheel-Version: 1.0\nGenerator: mmvssm\nRoot-Is-Purelib: true\nTag: py3-none-any\n'


def build_editable(wheel_directory, config_settings=None, metadata_directory=None) -> str:
    with tempfile.TemporaryDirectory() as folder:
        info = Path(folder) / build_meta.prepare_metadata_for_build_wheel(folder, config_settings)
        files = {f'{info.name}/{path.name}': path.read_bytes() for path in info.iterdir() if path.is_file()}
    files |= {f'{info.name}/WHEEL': WHEEL.encode(), 'mmvssm/__init__.py': STAND_IN.encode()}
    record = f'{info.name}/RECORD'
    lines = [f'{name},sha256={_digest(content)},{len(content)}' for name, content in files.items() if name != record]
    files[record] = '\n'.join([*lines, f'{record},,', '']).encode()
    name = f'{info.name.removesuffix(".dist-info")}-py3-none-any.whl'
    with zipfile.ZipFile(Path(wheel_directory, name), 'w') as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)
    return name


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip('=')
