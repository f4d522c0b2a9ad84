"""Compiling the CPU kernels where their cache cannot be used: read-only, full, damaged, sources in an archive."""

import warnings
from pathlib import Path

import pytest

pytest.importorskip('numba')
from numba import config, types
from numba.core import caching

from mmvssm.kernels import SlowKernelWarning
from mmvssm.kernels.selective_scan import numba_launch

SIGNATURE = types.int64(types.int64)


def double(x):
    return 2 * x


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setattr(config, 'CACHE_DIR', str(tmp_path))
    monkeypatch.setattr(double, '__qualname__', double.__qualname__)
    return tmp_path


def compiled():
    return numba_launch._compiled(double, SIGNATURE)


def files(folder: Path, suffix: str) -> list[Path]:
    return list(folder.rglob(f'*{suffix}'))


def test_the_second_process_reads_the_cache(folder):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert compiled()(3) == 6
        assert compiled().stats.cache_hits
    assert len(files(folder, '.nbc')) == 1


def read_only(self):
    raise OSError(30, 'Read-only file system')


def no_home(self):
    raise RuntimeError('Could not determine home directory.')


@pytest.mark.parametrize('refuse', [read_only, no_home])
def test_no_place_for_a_cache(folder, monkeypatch, refuse):
    monkeypatch.setattr(caching._CacheLocator, 'ensure_cache_path', refuse)
    with pytest.warns(SlowKernelWarning, match=r'numba cannot cache .*\(.*\)\. Set NUMBA_CACHE_DIR'):
        assert compiled()(3) == 6


def test_a_full_disk(folder, monkeypatch):
    def full(self, obj):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(caching.IndexDataCacheFile, '_dump', full)
    with pytest.warns(SlowKernelWarning, match='No space left'):
        assert compiled()(3) == 6


@pytest.mark.parametrize('suffix', ['.nbi', '.nbc'], ids=['index', 'code'])
@pytest.mark.parametrize('content', [b'', b'garbage', None], ids=['empty', 'garbage', 'cut short'])
def test_a_damaged_cache(folder, suffix, content):
    compiled()
    (file,) = files(folder, suffix)
    file.write_bytes(file.read_bytes()[:-40] if content is None else content)
    with pytest.warns(SlowKernelWarning, match='empty the one it uses'):
        assert compiled()(3) == 6


def test_unreadable_sources(folder, monkeypatch):
    def unreadable(self):
        raise OSError('in an archive')

    monkeypatch.setattr(Path, 'read_bytes', unreadable)
    with pytest.warns(SlowKernelWarning, match='in an archive'):
        assert compiled()(3) == 6


def test_a_kernel_that_does_not_compile_is_an_error(folder):
    def bad(x):
        return x.nothing

    with pytest.raises(Exception, match='nothing'):
        numba_launch._compiled(bad, SIGNATURE)
