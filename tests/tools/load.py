"""The scripts in `tools/`, which no package holds, as modules."""

import importlib.util
from pathlib import Path


def load(name: str):
    """`tools/NAME.py`, run as a module of its own."""
    path = Path(__file__).parents[2] / 'tools' / f'{name}.py'
    spec = importlib.util.spec_from_file_location(f'{name}_tool', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
