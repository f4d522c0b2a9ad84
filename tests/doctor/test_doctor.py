"""`mmvssm doctor`: right machines are called right, each thing that is spoilt is named with a remedy."""

import importlib.metadata
import json
from pathlib import Path

import pytest
import torch

from mmvssm import commands, doctor
from mmvssm.doctor import backends, machine, packages, report
from mmvssm.doctor.finding import ERROR, WARNING, Finding
from mmvssm.kernels.operators import OPERATORS


@pytest.fixture(scope='module')
def rows():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backends, 'SECONDS', 0.01)
        return backends.examine('cpu')


def test_every_implementation_is_tried(rows):
    tried = [(row['operator'], row['backend']) for row in rows[0]]
    assert tried == [(name, each.name) for name in backends.problems('cpu') for each in OPERATORS[name].implementations]
    assert {name for name, _ in tried} == set(OPERATORS)


def test_what_runs_on_a_cpu_is_right_and_timed(rows):
    for row in rows[0]:
        if row['backend'] == 'triton':
            assert row['state'] == 'triton runs on a GPU (or with TRITON_INTERPRET=1), the input is on cpu'
        else:
            assert row['state'] == 'right'
            assert row['seconds'] > 0
    assert rows[1] == []


def test_auto_is_marked(rows):
    taken = {row['operator']: row['backend'] for row in rows[0] if row['auto']}
    plain = ('mlstm', 'causal_conv', 'spectral_filter', 'pooled_norm', 'gated_norm')
    assert taken == dict(selective_scan='numba', **dict.fromkeys(plain, 'blocked'))


def test_wrong_numbers_are_found(monkeypatch):
    monkeypatch.setattr(backends, 'SECONDS', 0.01)
    right = backends.problems

    def problems(device, dtype=torch.float32):
        run = right(device, dtype)['causal_conv']
        return {'causal_conv': lambda backend: run(backend) * (1.01 if backend == 'blocked' else 1)}

    monkeypatch.setattr(backends, 'problems', problems)
    rows, found = backends.examine('cpu')
    assert [row['state'] for row in rows] == ['wrong numbers (relative error 1.0e-02, at most 1e-04)', 'right']
    assert [finding.level for finding in found] == [WARNING]


def test_a_fallback_is_found(monkeypatch):
    monkeypatch.setattr(backends, 'SECONDS', 0.01)
    monkeypatch.setattr(backends, '_chosen', lambda operator, device: 'blocked')
    _, found = backends.examine('cpu')
    (finding,) = found
    assert finding.what.startswith("selective_scan runs on 'blocked', many times slower than 'numba'")
    assert finding.remedy == 'pip install --force-reinstall numba'


def hide(monkeypatch, **versions):
    """Distributions with other versions, or without any."""
    real = importlib.metadata.version

    def version(name):
        found = versions.get(name.replace('-', '_'), real)
        if found is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found if isinstance(found, str) else real(name)

    monkeypatch.setattr(packages, 'version', version)


def test_this_installation_is_called_whole():
    assert [finding for finding in packages.findings() if finding.level == ERROR] == []


def test_a_missing_package(monkeypatch):
    hide(monkeypatch, timm=None)
    assert Finding(ERROR, 'timm is not installed', 'pip install "timm"') in packages.findings()


def test_an_old_package(monkeypatch):
    hide(monkeypatch, torch='2.1.0')
    assert 'torch 2.1.0 does not fit: >=2.6 is needed' in [finding.what for finding in packages.findings()]


def test_no_openmmlab(monkeypatch):
    hide(monkeypatch, **{name.replace('-', '_'): None for names in packages.OPENMMLAB.values() for name in names})
    (finding,) = [one for one in packages.findings() if one.level == ERROR]
    assert finding.what.startswith('mmengine, mmcv, mmdet, mmseg not installed')
    assert finding.remedy == packages.INSTALL_MM


def test_two_builds_of_one_package(monkeypatch):
    hide(monkeypatch, opencv_python='4.9', opencv_python_headless='4.9', mmcv_lite='2.1.0', onedl_mmcv='2.3.6')
    whats = [finding.what for finding in packages.findings()]
    assert 'opencv-python and opencv-python-headless share their files' in whats
    assert any('onedl-mmcv' in what and 'mmcv-lite' in what for what in whats)


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    monkeypatch.delenv('TORCH_HOME', raising=False)
    whats = [one.what for one in machine.findings()]
    assert f'cache of checked kernels: {tmp_path}/file/mmvssm, cannot be written' in whats
    assert f'cache of weights (torch): {tmp_path}/file/torch/hub/checkpoints, cannot be written' in whats


def test_too_many_threads(monkeypatch):
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 64)
    assert 'they wait for each other' in machine.findings()[0].what or len(machine.findings()) > 1


def test_little_memory_and_disk(monkeypatch):
    monkeypatch.setattr(machine, '_memory', lambda: (16.0, 1.5))
    monkeypatch.setattr(machine.shutil, 'disk_usage', lambda path: type('usage', (), {'free': 1 << 30}))
    whats = [finding.what for finding in machine.findings()]
    assert '1.5 GiB of memory are free' in whats
    assert '1.0 GiB of disk are free here' in whats


def test_the_main_job_is_a_training_step():
    job, found = report._main_job()
    assert job['detector'].startswith('trains: a step')
    assert [finding for finding in found if finding.level == ERROR] == []


def test_a_main_job_that_fails_is_an_error(monkeypatch):
    from mmvssm.openmmlab import health

    monkeypatch.setattr(health, '_step', lambda: 1 / 0)
    job, found = report._main_job()
    assert job['detector'] == 'fails: ZeroDivisionError: division by zero'
    assert found[-1].level == ERROR


def made(*findings) -> doctor.Report:
    row = {'operator': 'mlstm', 'backend': 'blocked', 'auto': True, 'state': 'right', 'seconds': 0.0015}
    facts = {'gpu': 'none', 'environment': {'OMP_NUM_THREADS': '2'}}
    return doctor.Report({'torch': '2.9', 'timm': ''}, facts, [row], {'detector': 'trains'}, list(findings))


def test_page_and_exit_status(monkeypatch, capsys):
    monkeypatch.setattr(doctor, 'examine', lambda: made(Finding(ERROR, 'x is broken', 'mend x')))
    with pytest.raises(SystemExit) as stop:
        commands.main(['doctor'])
    out = capsys.readouterr().out
    assert stop.value.code == 1
    for words in (
        'timm                      not installed',
        '* blocked     right, 1.50 ms',
        'ERROR   x is broken',
        '-> mend x',
    ):
        assert words in out


def test_json(monkeypatch, capsys):
    monkeypatch.setattr(doctor, 'examine', lambda: made(Finding(WARNING, 'x is slow', 'mend x')))
    commands.main(['doctor', '--json'])
    content = json.loads(capsys.readouterr().out)
    assert content['fit'] is True
    assert content['findings'] == [{'level': 'warning', 'what': 'x is slow', 'remedy': 'mend x'}]


def test_issue_template_asks_for_it():
    template = Path(__file__).parents[2] / '.github/ISSUE_TEMPLATE/bug.yml'
    assert 'mmvssm doctor --json' in template.read_text()
