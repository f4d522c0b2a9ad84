"""What `make install` does: which packages and which torch are taken, what uv is told, what a failure says."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location('install', ROOT / 'requirements/install.py')
install = importlib.util.module_from_spec(spec)
spec.loader.exec_module(install)

TORCHES = ['torch==2.14.1', 'torchvision==0.29.1']
INDEX = 'https://index/cpu'
PYTHON = 'cp{}{}'.format(*sys.version_info)


def page(version: str, python: str = PYTHON, plus: str = '%2B'):
    """A stub of an index that has one version of every package."""
    return lambda url: f'<a href="/whl/cpu/{url.split("/")[-2]}-{version}{plus}cpu-{python}-{python}-linux.whl">'


def unreachable(url):
    raise OSError('no route')


def both(url):
    return page('2.14.1')(url) + page('0.29.1')(url)


# --- which torch ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('plus', ['%2B', '%2b', '+'])
def test_cpu_builds_are_taken_where_the_index_has_both(plus):
    cpu, said = install.choose_torch(TORCHES, INDEX, False, lambda url: both(url).replace('%2B', plus))
    assert cpu
    assert 'torch==2.14.1 and torchvision==0.29.1' in said
    assert install.CPU_SIZE in said


@pytest.mark.parametrize(
    ('fetch', 'why'),
    [
        (unreachable, 'cannot be reached (no route)'),
        (page('2.14.1'), 'has no torchvision==0.29.1'),
        (page('2.14.10'), 'has no torch==2.14.1'),
        (page('2.14.1', 'cp39'), f'has no torch==2.14.1 for {PYTHON}'),
    ],
    ids=['unreachable', 'one of two', 'longer version', 'another Python'],
)
def test_cuda_builds_are_taken_where_the_index_lacks_one(fetch, why):
    cpu, said = install.choose_torch(TORCHES, INDEX, False, fetch)
    assert not cpu
    assert why in said
    assert install.CUDA_SIZE in said


def test_cuda_builds_are_taken_with_a_gpu_without_asking_an_index():
    assert install.choose_torch(TORCHES, INDEX, True, lambda url: pytest.fail('asked'))[0] is False


def test_an_empty_index_means_cuda_builds():
    assert install.choose_torch(TORCHES, '', False, both) == (
        False,
        f'No NVIDIA GPU found, but TORCH_INDEX is empty: the CUDA builds of {" and ".join(TORCHES)}, '
        f'which need none ({install.CUDA_SIZE})',
    )


def test_what_is_no_url_is_said():
    assert 'cannot be reached' in install.choose_torch(TORCHES, 'no-url', False)[1]


# --- what is installed ------------------------------------------------------------------------------------------------


class Recorder:
    """Stands for pip or uv; remembers what it was asked for."""

    def __init__(self):
        self.asked = []

    def install(self, *arguments):
        if '-r' in arguments:
            arguments = (*arguments[:1], *install.read_lines(arguments[1]), *arguments[2:3])
        self.asked.append([str(argument) for argument in arguments])


PINS = [
    *TORCHES,
    "nvidia-cublas==13.1 ; sys_platform == 'linux'",
    'cuda-toolkit==13.0',
    'triton==3.8.0',
    'timm==1.0.31',
]


@pytest.fixture
def on_linux(monkeypatch):
    monkeypatch.setattr(install.sys, 'platform', 'linux')


def test_cpu_builds_come_from_their_index_and_without_cuda(on_linux, monkeypatch):
    monkeypatch.setattr(install, 'why_not_cpu', lambda *_: None)
    recorder = Recorder()
    install.install(recorder, PINS, INDEX, gpu=False)
    assert recorder.asked == [
        [*TORCHES, '--index-url', INDEX],
        ['-r', 'triton==3.8.0', 'timm==1.0.31', '--build-constraint'],
        ['--no-build-isolation', '-e', str(ROOT)],
    ]


def test_cuda_builds_come_with_everything(on_linux):
    recorder = Recorder()
    install.install(recorder, PINS, INDEX, gpu=True)
    assert recorder.asked[0] == ['-r', *PINS, '--build-constraint']


def test_no_index_is_asked_where_all_builds_are_small(monkeypatch):
    monkeypatch.setattr(install.sys, 'platform', 'darwin')
    monkeypatch.setattr(install, 'choose_torch', lambda *_: pytest.fail('asked'))
    recorder = Recorder()
    install.install(recorder, PINS, INDEX, gpu=False)
    assert recorder.asked[0] == ['-r', *PINS, '--build-constraint']


# --- uv is told what pip knows ----------------------------------------------------------------------------------------


def test_uv_is_told_of_indexes_and_caps():
    config = [
        ":env:.find-links='/wheels'",
        "global.constraint='/etc/caps.txt'",
        "global.extra-index-url='file:///a file:///b'",
        "global.find-links='/old'",
        "global.timeout='180'",
    ]
    assert install.known_to_pip(config) == [
        '--index=file:///a',
        '--index=file:///b',
        '--find-links=/wheels',
        '--constraints=/etc/caps.txt',
        '--index-strategy=unsafe-best-match',
    ]


def test_uv_is_told_nothing_where_pip_knows_nothing():
    assert install.known_to_pip([]) == []


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'said',
    [
        'ERROR: Could not find a version that satisfies the requirement torch==2.14.1 (from versions: 2.6.0)\n'
        'ERROR: No matching distribution found for torch==2.14.1',
        '  × No solution found\n  ╰─▶ Because there is no version of torch==2.14.1 and you require torch==2.14.1',
        'ERROR: Cannot install torch==2.14.1 because these package versions have conflicting dependencies.\n'
        '    The user requested (constraint) torch<=2.13',
    ],
    ids=['pip', 'uv', 'capped'],
)
def test_the_package_that_cannot_be_had_is_named(said):
    pins = ['torch==2.14.1', 'torchvision==0.29.1', "torch==2.14 ; python_version < '3.10'"]
    assert install.not_to_be_had(pins, said) == ['torch==2.14.1']


def test_a_failure_says_what_to_do(tmp_path, monkeypatch):
    lock = tmp_path / 'lock.txt'
    lock.write_text('torch==99.0\nsix==1.17.0\n')

    class Refuses(Recorder):
        def __init__(self, venv):
            super().__init__()

        def install(self, *arguments):
            raise install.InstallError('No matching distribution found for torch==99.0')

    monkeypatch.setattr(install, 'Pip', Refuses)
    monkeypatch.setattr(install, 'Uv', Refuses)
    monkeypatch.setattr(install.sys, 'argv', ['install.py', str(tmp_path / 'venv'), '--lock', str(lock)])
    with pytest.raises(SystemExit) as stopped:
        install.main()
    assert str(stopped.value) == (
        f'torch==99.0, which {lock} asks for, could not be installed; '
        '`make LOCK= install` goes on with the newest versions that fit.'
    )


def test_an_environment_with_opencv_python_is_made_anew(tmp_path, monkeypatch):
    old = tmp_path / 'lib/python3.11/site-packages/opencv_python-4.12.0.88.dist-info'
    old.mkdir(parents=True)
    monkeypatch.setattr(install, 'Pip', lambda venv: Recorder())
    monkeypatch.setattr(install, 'Uv', lambda venv: Recorder())
    monkeypatch.setattr(
        install.sys, 'argv', ['install.py', str(tmp_path), '--lock', str(ROOT / 'requirements/lock.txt')]
    )
    install.main()
    assert not old.exists()


# --- lock files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('lock', ['lock', 'oldest', 'upstream'])
def test_lock_files_hold_exact_versions_and_one_opencv(lock):
    pins = install.read_lines(ROOT / f'requirements/{lock}.txt')
    assert all('==' in pin.partition(';')[0] for pin in pins)
    assert {install.name_of(pin) for pin in pins if 'opencv' in pin} == {'opencv-python-headless'}
    assert len([pin for pin in pins if install.name_of(pin) == 'torch']) == 1  # choose_torch knows no markers


def test_the_lock_suits_machines_capped_at_torch_2_14_1():
    assert set(TORCHES) <= set(install.read_lines(ROOT / 'requirements/lock.txt'))


# --- Makefile ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def make(tmp_path):
    """Runs make in a folder with the files that installing depends on, where installing succeeds at once."""
    if shutil.which('make') is None:
        pytest.skip('no make')
    for name in ('Makefile', 'setup.py', 'pyproject.toml', 'requirements/lock.txt'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / '.venv').mkdir()
    options = dict(cwd=tmp_path, env={'PATH': os.environ['PATH']}, capture_output=True)  # not those of an outer make
    return lambda *words: subprocess.run(['make', '-s', 'PYTHON=true', *words], check=False, **options).returncode


@pytest.mark.parametrize('changed', ['setup.py', 'requirements/lock.txt'])
def test_a_change_of_what_is_promised_installs_again(make, tmp_path, changed):
    assert make('-q', 'install') == 1
    assert make('install') == 0
    assert make('-q', 'install') == 0
    later = (tmp_path / '.venv/.installed').stat().st_mtime + 10
    os.utime(tmp_path / changed, (later, later))
    assert make('-q', 'install') == 1


def test_another_choice_of_lock_installs_again(make):
    assert make('install') == 0
    assert make('-q', 'install', 'LOCK=') == 1
    assert make('install', 'LOCK=') == 0
    assert make('-q', 'install') == 1


def test_clean_keeps_trained_checkpoints(make, tmp_path):
    checkpoint = tmp_path / 'work_dirs/run/epoch_12.pth'
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    assert make('clean') == 0
    assert checkpoint.exists()
    assert not (tmp_path / '.venv').exists()
