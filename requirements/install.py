"""Make a virtual environment and install mmvssm and an exact set of versions into it: what `make install` runs.

uv installs where it is on the PATH, and is told what pip's configuration says; else pip does. The versions are those of
a lock file or, without one, the newest that fit together. They are installed as they stand (--no-deps), which keeps out
what `excluded.txt` names and, where torch is built for the CPU, CUDA's libraries.
"""

import argparse
import ast
import json
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / 'requirements/build.in'
EXCLUDED = ROOT / 'requirements/excluded.txt'
CUDA_LIBRARY = re.compile(r'(nvidia|cuda)-')
CUDA_SIZE = '3 GB to download; the environment takes 6.5 GB'
CPU_SIZE = '0.2 GB to download; the environment takes 3 GB'


class InstallError(RuntimeError):
    """What could not be installed, in words."""


def run(*command) -> str:
    """What a command prints to its standard output; errors are shown as they come.

    Raises:
        InstallError: it failed; with all that it said.
    """
    done = subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True, text=True, check=False)
    sys.stderr.write(done.stderr)
    if done.returncode:
        raise InstallError(done.stdout + done.stderr)
    return done.stdout


# --- versions ---------------------------------------------------------------------------------------------------------


def read_lines(path: Path) -> list[str]:
    """The lines of a requirements file, without comments."""
    lines = (line.partition('#')[0].strip() for line in path.read_text(encoding='utf-8').splitlines())
    return [line for line in lines if line]


def name_of(pin: str) -> str:
    """'Jinja2==3.1.6 ; marker' -> 'jinja2'."""
    return re.sub(r'[-_.]+', '-', pin.partition('==')[0]).lower()


def not_to_be_had(pins: list[str], said: str) -> list[str]:
    """The pins that the failed command named."""
    named = [pin.partition(';')[0].strip() for pin in pins]
    return [pin for pin in dict.fromkeys(named) if re.search(rf'(?<![\w.-]){re.escape(pin)}(?![\w.+])', said)]


# --- which torch ------------------------------------------------------------------------------------------------------


def has_nvidia_gpu() -> bool:
    try:
        listed = subprocess.run(['nvidia-smi', '-L'], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listed.returncode == 0 and 'GPU' in listed.stdout


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def choose_torch(torches: list[str], index: str, gpu: bool, fetch: Callable[[str], str] = fetch) -> tuple[bool, str]:
    """Whether the CPU builds of torch and torchvision are taken, and a line that says so with the sizes.

    Args:
        torches: 'torch==2.14.1', 'torchvision==0.29.1'.
        index: of packages, where CPU builds are looked for.
    """
    what = ' and '.join(torches)
    if gpu:
        return False, f'NVIDIA GPU found: the CUDA builds of {what} ({CUDA_SIZE})'
    reason = why_not_cpu(torches, index, fetch)
    if reason:
        return (
            False,
            f'No NVIDIA GPU found, but {reason}: the CUDA builds of {what}, which need none ({CUDA_SIZE})',
        )
    return True, f'No NVIDIA GPU found: the CPU builds of {what} from {index} ({CPU_SIZE})'


def why_not_cpu(torches: list[str], index: str, fetch: Callable[[str], str]) -> str | None:
    """Why an index cannot give the CPU builds of these versions for this Python; None where it can."""
    if not index:
        return 'TORCH_INDEX is empty'
    python = 'cp{}{}'.format(*sys.version_info)
    for pin in torches:
        name, version = pin.split('==')
        try:
            page = fetch(f'{index.rstrip("/")}/{name}/')
        except (OSError, ValueError) as error:  # ValueError: not a URL
            return f'{index} cannot be reached ({error})'
        if not re.search(rf'{name}-{re.escape(version)}(%2B|\+)cpu-{python}-', page, re.IGNORECASE):
            return f'{index} has no {pin} for {python}'
    return None


# --- uv or pip --------------------------------------------------------------------------------------------------------


def known_to_pip(config: Iterable[str]) -> list[str]:
    """What `pip config list` prints, as arguments for uv, which reads none of it: places and caps of packages."""
    settings: dict[str, str] = {}
    for line in config:
        key, _, value = line.partition('=')
        settings.setdefault(key.rpartition('.')[2], ast.literal_eval(value))  # the environment, listed first, wins
    flags = {
        'index-url': '--default-index',
        'extra-index-url': '--index',
        'find-links': '--find-links',
        'constraint': '--constraints',
    }
    found = [f'{flag}={item}' for key, flag in flags.items() for item in settings.get(key, '').split()]
    return [*found, '--index-strategy=unsafe-best-match'] if found else []  # pip's strategy


class Pip:
    """Installs into a virtual environment, which is made if it is not there."""

    def __init__(self, venv: Path):
        if not (venv / 'bin/python').exists():
            run(sys.executable, '-m', 'venv', venv)
        self.pip = (venv / 'bin/python', '-m', 'pip')
        self.install(*(line for line in read_lines(BUILD) if line.startswith('pip')))  # that knows --build-constraint

    def newest(self, extras: str) -> list[str]:
        """The newest versions that fit together, as a lock file's lines."""
        report = run(*self.pip, 'install', '-q', '--dry-run', '-I', '--report', '-', '-r', BUILD, f'{ROOT}[{extras}]')
        found = [item['metadata'] for item in json.loads(report)['install']]
        pins = [f'{package["name"]}=={package["version"]}' for package in found]
        return [pin for pin in pins if name_of(pin) not in ('mmvssm', *read_lines(EXCLUDED))]

    def install(self, *arguments) -> None:
        run(*self.pip, 'install', '-q', '--no-deps', *arguments)


class Uv:
    """The same with uv."""

    def __init__(self, venv: Path):
        if not (venv / 'bin/python').exists():
            run('uv', 'venv', '-q', '--python', sys.executable, venv)
        self.python = venv / 'bin/python'
        pip = [sys.executable, '-m', 'pip', 'config', 'list']
        listed = subprocess.run(pip, capture_output=True, text=True, check=False).stdout
        self.settings = known_to_pip(listed.splitlines())

    def newest(self, extras: str) -> list[str]:
        """The newest versions that fit together, as a lock file's lines."""
        wanted = [f'--extra={name}' for name in extras.split(',')]
        options = ['-q', '--no-header', '--no-annotate', '--python', self.python, '--excludes', EXCLUDED]
        said = run('uv', 'pip', 'compile', *options, *self.settings, *wanted, BUILD, ROOT / 'setup.py')
        return said.splitlines()

    def install(self, *arguments) -> None:
        settings = [] if '--index-url' in arguments else self.settings
        run('uv', 'pip', 'install', '-q', '--python', self.python, '--no-deps', *settings, *arguments)


# --- all of it --------------------------------------------------------------------------------------------------------


def install(installer: Pip | Uv, pins: list[str], torch_index: str, gpu: bool) -> None:
    """Put the pinned versions in place, and mmvssm in editable form."""
    torches = [pin.partition(';')[0].strip() for pin in pins if name_of(pin) in ('torch', 'torchvision')]
    if sys.platform == 'linux':  # elsewhere PyPI's builds are the small ones
        cpu, message = choose_torch(torches, torch_index, gpu)
        print(message, flush=True)
        if cpu:
            installer.install(*torches, '--index-url', torch_index)
            done = ('torch', 'torchvision')
            pins = [pin for pin in pins if name_of(pin) not in done and not CUDA_LIBRARY.match(pin)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'pins.txt'
        path.write_text('\n'.join([*pins, '']))
        installer.install('-r', path, '--build-constraint', path)
    installer.install('--no-build-isolation', '-e', ROOT)


def path_or_none(text: str) -> Path | None:
    return Path(text) if text else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('venv', type=Path)
    parser.add_argument('--lock', type=path_or_none, help='lock file; empty for the newest versions that fit')
    parser.add_argument('--extras', default='mm,dev')
    parser.add_argument('--torch-index', default='', help='where CPU builds of torch are looked for without a GPU')
    args = parser.parse_args()
    if any(args.venv.glob('lib/python*/site-packages/opencv_python-*.dist-info')):
        print(f'{args.venv} has opencv-python, which shares its files with opencv-python-headless: it is made anew')
        shutil.rmtree(args.venv)
    pins: list[str] = []
    try:
        installer = (Uv if shutil.which('uv') else Pip)(args.venv)
        pins = read_lines(args.lock) if args.lock else installer.newest(args.extras)
        install(installer, pins, args.torch_index, has_nvidia_gpu())
    except InstallError as error:
        what = ', '.join(not_to_be_had(pins, str(error))) or 'something, named above'
        asked = f', which {args.lock} asks for, could' if args.lock else ' could'
        advice = '; `make LOCK= install` goes on with the newest versions that fit.' if args.lock else '.'
        sys.exit(f'{what}{asked} not be installed{advice}')


if __name__ == '__main__':
    main()
