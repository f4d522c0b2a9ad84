"""Reading of golden cases: outputs of published code in the folder MMVSSM_GOLDEN_DIR (default tests/golden)."""

import importlib.util
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

ROOT = Path(os.environ.get('MMVSSM_GOLDEN_DIR') or Path(__file__).parent / 'golden')
FORWARD_TOLERANCE, GRADIENT_TOLERANCE, FLOAT64_TOLERANCE = 1e-5, 2e-4, 2e-6


def _load_fill():
    """`fill.py` of the golden folder, or this repository's copy of it."""
    path = ROOT / 'fill.py'
    path = path if path.exists() else Path(__file__).parent / 'golden' / 'fill.py'
    spec = importlib.util.spec_from_file_location('golden_fill', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fill = _load_fill()


@dataclass(frozen=True)
class Case:
    """One case: its description (the json file) and its sampled arrays (the npz file)."""

    path: Path

    def __str__(self) -> str:
        return self.path.relative_to(ROOT).with_suffix('').as_posix()

    @cached_property
    def spec(self) -> dict:
        return json.loads(self.path.read_text())

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.path.with_suffix('.npz')) as data:
            return {name: data[name] for name in data.files}

    @property
    def is_operator(self) -> bool:
        return self.path.parent.name == 'ops'

    @property
    def is_float64(self) -> bool:
        """Whether the stored arrays were computed in float64 (ill-conditioned networks)."""
        return any('f32_error' in v for v in self.spec['outputs'].values())

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64 if self.is_float64 else torch.float32

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {k: torch.from_numpy(v) for k, v in fill.fill_state_dict(self.spec['keys']).items()}

    def input(self) -> torch.Tensor:
        return torch.from_numpy(fill.make_input(**self.spec['input'])).to(self.dtype)

    def weighted_sum(self, outputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """The scalar whose gradients are stored: all features, or the logits where there are no features."""
        feats = sorted((n for n in outputs if n.startswith('feat')), key=lambda n: int(n[4:]))
        names = feats or ['logits']
        return sum(
            (outputs[n] * torch.from_numpy(fill.make_input(tuple(outputs[n].shape), seed=100 + i))).sum()
            for i, n in enumerate(names)
        )

    def tolerance(self, name: str) -> float:
        if self.is_float64:
            return FLOAT64_TOLERANCE
        if name.startswith('grad'):
            return GRADIENT_TOLERANCE
        return self.spec.get('tolerance', FORWARD_TOLERANCE)

    def check(self, name: str, value: torch.Tensor) -> str | None:
        """None where `value` is right, else what is wrong with it."""
        stored = self.spec['outputs'][name]
        if list(value.shape) != stored['shape']:
            return f'{name}: shape {list(value.shape)}, stored {stored["shape"]}'
        flat = value.detach().double().numpy().ravel()
        expected = self.arrays[name].astype(np.float64).ravel()
        error = np.abs(flat[fill.sample_indices(flat.size)] - expected).max() / np.abs(expected).max()
        if not error <= self.tolerance(name):
            return f'{name}: error {error:.2e} of the largest magnitude, tolerance {self.tolerance(name):.0e}'
        return None


def find_cases() -> list[Case]:
    """Every case of the golden folder but those of released code known to be wrong (`legacy`)."""
    cases = [Case(path) for path in sorted(ROOT.glob('*/**/*.json'))]
    return [case for case in cases if not case.spec.get('legacy')]
