"""Compiles kernels before they are wanted: in as many processes as there are cores, on this machine or for another.

Each process asks Triton's own launch for the binary, only without a GPU; so it is the one that the launch will take. A
folder of binaries may travel (`--cache`), but they are found again only by the same Triton for the same Python, and for
the same kernels: all of this is in their names. `stamp` says what a folder was made by.
"""

import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase

from mmvssm import kernels

from .launches import Binary

STAMP = 'made-by.json'


class _Absent(DriverBase):
    """The driver of a GPU that is not here, or that a compiling process had better not touch."""

    def __init__(self, target: GPUTarget):
        self.target = target

    @classmethod
    def is_active(cls) -> bool:
        return True

    def map_python_to_cpp_type(self, ty: str) -> str:
        raise NotImplementedError

    def get_benchmarker(self):
        raise NotImplementedError

    def get_active_torch_device(self):
        raise NotImplementedError

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def parse_target(text: str) -> GPUTarget:
    """`cuda:90`, `hip:gfx942` as Triton's target."""
    backend, _, arch = text.partition(':')
    if backend == 'cuda' and arch.isdecimal():
        return GPUTarget(backend, int(arch), 32)
    if backend == 'hip' and arch.startswith('gfx'):
        return GPUTarget(backend, arch, 64 if arch.startswith('gfx9') else 32)
    raise ValueError(f'{text!r} is no target; examples: cuda:90, hip:gfx942')


def compile_all(binaries: Sequence[Binary], target: GPUTarget, workers: int, launchers: bool = False) -> dict:
    """Fill Triton's cache; figures of it. `launchers`: with what Triton builds to launch each on this machine."""
    start = time.time()
    with ProcessPoolExecutor(workers, get_context('spawn'), prepare, (target, launchers)) as pool:
        done = list(pool.map(compile_one, binaries))
    failed = [f'{each.name}: {error}' for each, (_, error) in zip(binaries, done) if error]
    found = {'binaries': len(done), 'from_cache': sum(hit for hit, _ in done), 'seconds': time.time() - start}
    return {**found, 'workers': workers, 'failed': failed}


_hits: list[bool] = []
_launchers = False


def prepare(target: GPUTarget, launchers: bool = False) -> None:
    """In a process that compiles: no GPU is touched, and hits are noted."""
    global _launchers
    _launchers = launchers
    triton.runtime.driver.set_active(_Absent(target))
    if hasattr(triton, 'knobs'):
        triton.knobs.compilation.listener = lambda *, cache_hit, **_: _hits.append(cache_hit)


def compile_one(binary: Binary) -> tuple[bool, str]:
    """Whether Triton says that nothing had to be compiled, and what went wrong."""
    _hits.clear()
    try:
        kernel = getattr(import_module(binary.module), binary.name)
        compiled = kernel.warmup(grid=(1,), **binary.arguments, **binary.options)
    except Exception as error:  # the launch itself will raise it again, in the row that it belongs to
        return False, f'{type(error).__name__}: {error}'[:300]
    if _launchers:
        with suppress(Exception):  # Triton 3.8 has nothing to build
            from triton.backends.nvidia.driver import CudaLauncher

            CudaLauncher(compiled.src, compiled.metadata)
    return hasattr(triton, 'knobs') and all(_hits), ''


def stamp(target: GPUTarget) -> dict[str, str]:
    """All that the name of a cached binary depends on."""
    return {
        'triton': triton.__version__,
        'triton_files': hashlib.sha256(_triton_key().encode()).hexdigest()[:16],
        'python': platform.python_version().rpartition('.')[0],
        'machine': platform.machine(),
        'target': f'{target.backend}:{target.arch}',
        'kernels': hashlib.sha256(b''.join(path.read_bytes() for path in _sources())).hexdigest()[:16],
    }


def _triton_key() -> str:
    """Triton's digest of its own files, the compiled library among them."""
    for module in ('triton.runtime.cache', 'triton.compiler.compiler'):
        if key := getattr(import_module(module), 'triton_key', None):
            return key()
    return triton.__version__


def _sources() -> list[Path]:
    return sorted(Path(str(kernels.__file__)).parent.rglob('*.py'))


def pack(folder: Path, target: GPUTarget) -> None:
    """Stamp a folder that is to travel, and empty what is not run; Triton 3.8 wants every file to be there."""
    for file in folder.glob('*/*.source'):
        file.write_text('')
    (folder / STAMP).write_text(json.dumps(stamp(target), indent=1))


def use_cache(folder: Path, target: GPUTarget) -> dict:
    """Take a folder of binaries that was made elsewhere: what of its stamp does not fit, '' if all does."""
    file = folder / STAMP
    made = json.loads(file.read_text()) if file.exists() else {}
    unfit = [f'{key} {made.get(key, "?")}, here {own}' for key, own in stamp(target).items() if made.get(key) != own]
    return {'moved': relocate(folder), 'unfit': '; '.join(unfit)}


def relocate(folder: Path) -> int:
    """Triton 3.6 notes the files of a binary by absolute paths: put in where the folder is now."""
    moved = 0
    for file in folder.glob('*/__grp__*.json'):
        group = json.loads(file.read_text())
        here = {name: str(file.parent / name) for name in group.get('child_paths', {})}
        if here and group['child_paths'] != here:
            file.write_text(json.dumps({**group, 'child_paths': here}))
            moved += 1
    return moved


def workers() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == 'linux' else os.cpu_count() or 1
