"""What gets installed, and what importing it needs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OPENMMLAB = ('mmengine', 'mmcv', 'mmdet', 'mmseg')


def run(code: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, '-c', code], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_plain_install_has_kernels_inside_the_package(tmp_path):
    command = [
        sys.executable,
        'setup.py',
        '-q',
        'build',
        '--build-base',
        tmp_path / 'b',
        '--build-lib',
        tmp_path / 'lib',
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert (tmp_path / 'lib/mmvssm/kernels/selective_scan/op.py').is_file()
    assert (tmp_path / 'lib/mmvssm/backbones/vmamba.py').is_file()
    assert sorted(p.name for p in (tmp_path / 'lib').iterdir()) == ['mmvssm']


def test_imports_without_openmmlab(tmp_path):
    block = f'import sys; sys.modules.update(dict.fromkeys({OPENMMLAB!r}))'
    code = f'{block}; import mmvssm; print(len(mmvssm.list_models()) > 20)'
    assert run(code, tmp_path) == 'True'


def test_importing_registers_with_mmengine(tmp_path):
    code = 'import mmvssm; from mmengine.registry import MODELS; print(MODELS.get("mmvssm.LocalVMamba").__name__)'
    assert run(code, tmp_path) == 'LocalVMamba'


@pytest.mark.parametrize('missing', ['numba', 'triton'])
def test_imports_without_a_kernel_compiler(tmp_path, missing):
    code = (
        f'import sys; sys.modules[{missing!r}] = None; import torch, mmvssm; '
        'print(mmvssm.create_model("test_vmamba", features_only=True).eval()(torch.zeros(1, 3, 32, 32))[0].shape[1])'
    )
    assert run(code, tmp_path) == '16'
