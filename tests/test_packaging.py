"""What gets installed, and what importing it needs."""

import importlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
OPENMMLAB = ('mmengine', 'mmcv', 'mmdet', 'mmseg')


def run(code: str, cwd: Path, path: Path | None = None) -> str:
    env = os.environ | ({'PYTHONPATH': str(path)} if path else {})
    done = subprocess.run([sys.executable, '-c', code], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """What a wheel holds."""
    folder = tmp_path_factory.mktemp('built')
    command = [sys.executable, 'setup.py', '-q', 'build', '--build-base', folder / 'b', '--build-lib', folder / 'lib']
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder / 'lib'


def test_plain_install_has_kernels_inside_the_package(built):
    assert (built / 'mmvssm/kernels/selective_scan/op.py').is_file()
    assert (built / 'mmvssm/backbones/vmamba.py').is_file()
    assert (built / 'mmvssm/weights/published/vmamba.yml').is_file()
    assert (built / 'mmvssm/py.typed').is_file()
    assert len(list((built / 'mmvssm/demo').rglob('*.png'))) == 64
    assert sorted(path.name for path in built.iterdir()) == ['mmvssm']


def test_plain_install_has_configs_and_metafiles_where_mim_looks_for_them(built):
    configs = {path.relative_to(ROOT / 'configs') for path in (ROOT / 'configs').rglob('*.py')}
    mim = built / 'mmvssm/.mim'
    assert {path.relative_to(mim / 'configs') for path in (mim / 'configs').rglob('*.py')} == configs
    index = yaml.safe_load((mim / 'model-index.yml').read_text())
    models = [one for name in index['Import'] for one in yaml.safe_load((mim / name).read_text())['Models']]
    named = [mim / one['Config'] for one in models if 'Config' in one]
    assert len(named) > 40
    assert all(path.is_file() for path in named)


def test_commands_work_outside_the_repository(built, tmp_path):
    code = (
        'from mmvssm.commands import main\n'
        'main(["config", "mask_rcnn_vmamba_t", "--save", "mine.py"])\n'
        'from mmengine.config import Config; print(Config.fromfile("mine.py").model.backbone.arch)'
    )
    assert run(code, tmp_path, built).splitlines()[-1] == 'tiny_s1l8'


def test_the_console_command_is_declared():
    script = re.search(r'^\[project.scripts\]\nmmvssm = "(.*):(.*)"', (ROOT / 'pyproject.toml').read_text(), re.M)
    module, function = script.groups()
    assert callable(getattr(importlib.import_module(module), function))


def editable_install(folder: Path) -> Path:
    code = 'import backend, sys; print(backend.build_editable(sys.argv[1]))'
    command = [sys.executable, '-c', code, folder]
    env = os.environ | {'PYTHONPATH': str(ROOT / 'requirements')}
    subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True)
    (wheel,) = folder.glob('*.whl')
    with zipfile.ZipFile(wheel) as opened:
        assert opened.testzip() is None
        opened.extractall(folder)
    return folder


@pytest.mark.parametrize(
    'path', [editable_install, lambda folder: ROOT], ids=['editable install', 'source tree on the path']
)
def test_a_script_beside_a_clone_called_mmvssm_imports_the_package(tmp_path, path):
    (tmp_path / 'mmvssm').mkdir()  # stands for the clone: a folder without __init__.py, first on the path
    (tmp_path / 'site').mkdir()
    code = (
        'import mmvssm, mmvssm.kernels; print(len(mmvssm.list_models()) > 20, mmvssm.__file__, mmvssm.kernels.__file__)'
    )
    expected = f'True {ROOT / "mmvssm/__init__.py"} {ROOT / "kernels/__init__.py"}'
    assert run(code, tmp_path, path(tmp_path / 'site')) == expected


def test_in_a_clone_nobody_takes_the_kernels_for_another_package(tmp_path):
    """transformers tries to import `kernels`; a second copy of the operators frees what torch knows of the first."""
    code = (
        'import mmvssm, torch\n'
        'try: import kernels\n'
        'except ImportError as error: print(error)\n'
        'from mmvssm.kernels.selective_scan.op import selective_scan_op\n'
        'print(torch.ops.mmvssm.selective_scan.default is selective_scan_op._opoverload)'
    )
    assert run(code, tmp_path, ROOT).splitlines() == ['this folder is mmvssm.kernels: import mmvssm', 'True']


def test_imports_without_openmmlab(tmp_path):
    block = f'import sys; sys.modules.update(dict.fromkeys({OPENMMLAB!r}))'
    code = f'{block}; import mmvssm; print(len(mmvssm.list_models()) > 20)'
    assert run(code, tmp_path) == 'True'


def test_importing_registers_with_mmengine_and_changes_nothing_else(tmp_path):
    patched = {'mmcv', 'mmdet', 'mmseg', 'mmengine.runner', 'mmengine.model', 'mmvssm.openmmlab'}
    code = f"""
import sys
import mmvssm
print(sorted({patched} & set(sys.modules)))
from mmengine.registry import MODELS
print([MODELS.get(name).__name__ for name in ('mmvssm.LocalVMamba', 'LocalVMamba')])
print(sorted({{'mmcv', 'mmvssm.openmmlab'}} & set(sys.modules)))
"""
    assert run(code, tmp_path).splitlines() == ['[]', "['LocalVMamba', 'LocalVMamba']", '[]']


def test_a_broken_mmengine_costs_a_warning(tmp_path):
    (tmp_path / 'mmengine').mkdir()
    (tmp_path / 'mmengine/__init__.py').write_text('import pkg_resources_that_is_gone')
    code = f"""
import sys, warnings
sys.path.insert(0, {str(tmp_path)!r})
with warnings.catch_warnings(record=True) as caught:
    import mmvssm
print(len(mmvssm.list_models()) > 20, [str(w.message) for w in caught if 'mmengine' in str(w.message)])
"""
    printed = run(code, tmp_path)
    assert printed.startswith('True')
    assert 'pkg_resources_that_is_gone' in printed


@pytest.mark.parametrize('missing', ['numba', 'triton'])
def test_imports_without_a_kernel_compiler(tmp_path, missing):
    code = (
        f'import sys; sys.modules[{missing!r}] = None; import torch, mmvssm; '
        'print(mmvssm.create_model("test_vmamba", features_only=True).eval()(torch.zeros(1, 3, 32, 32))[0].shape[1])'
    )
    assert run(code, tmp_path) == '16'


def test_there_is_one_version(tmp_path):
    (info,) = (folder for folder in editable_install(tmp_path).iterdir() if folder.suffix == '.dist-info')
    metadata = (info / 'METADATA').read_text(encoding='utf-8')
    version = re.search(r"^__version__ = '(.+)'$", (ROOT / 'mmvssm/__init__.py').read_text(encoding='utf-8'), re.M)
    assert f'\nVersion: {version[1]}\n' in metadata
    assert '\nProject-URL: ' in metadata
