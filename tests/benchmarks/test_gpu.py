"""The session on a GPU, run whole in miniature: interpreted kernels, a clock that tells no time."""

import csv
import io
import json
import os
import sys
import time
from functools import cache, partial
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import supervisor, table

DOCUMENT = Path(__file__).parents[2] / 'kernels/BENCHMARKS.md'


def _session(file: Path, seconds: float = 300.0):
    from benchmarks.gpu.clock import Clock
    from benchmarks.gpu.plan import TINY
    from benchmarks.gpu.session import Session

    os.environ['MMVSSM_SELF_CHECK'] = 'off'
    return Session(file, time.time() + seconds, TINY, Clock('cpu', dry=True))


def _measure(file: Path) -> None:
    """Everything, with a kernel that is wrong and a peer that raises."""
    from benchmarks import peers
    from benchmarks.gpu import check, launches, sections

    launches.scan_launch.CHUNK = 4  # the interpreter goes through every step

    def broken():
        raise RuntimeError('this peer is broken')

    errors = cache(check.errors)  # of which each tile would ask again
    check.errors = lambda work, *given: (1.0, 1.0) if work.kind == 'mLSTM' else errors(work, *given)
    peers.SCANS = {'broken': broken, 'missing': partial(__import__, 'no_such_package')}
    sections.measure(_session(file))


@pytest.fixture(scope='module')
def results(interpreted, tmp_path_factory) -> dict:
    file = tmp_path_factory.mktemp('gpu') / 'results.json'
    interpreted(_measure, file)
    return json.loads(file.read_text())


def test_every_section_has_figures(results):
    for section in ('machine', 'check', 'scans', 'models', 'kernels', 'compiled', 'tune'):
        rows = [row for row in results[section].values() if not {'error', 'not measured'} & row.keys()]
        assert rows, section
    assert results['check']['straight scan, fp32: tiny']['verdict'] == 'ok'
    assert results['scans']['LocalVMamba, fp32']['both_ms'] == 1
    assert set(results['kernels']['VMamba, tiny, fp32']) == {
        'straight_sweep, summary', 'straight_sweep, outputs', 'carry', 'carry, reverse',
        'straight_gradient_sweep', 'straight_gradients',
    }  # fmt: skip
    assert 'Tile(16, 32, 1, 1)' in results['tune']['straight_sweep, up to 32']['put']


def test_a_case_that_is_wrong_blocks_itself_alone(results):
    assert results['check']['mLSTM, fp32: tiny']['verdict'] == 'WRONG'
    blocked = {'not measured': 'mLSTM, fp32: wrong in mLSTM, fp32: tiny'}
    assert results['scans']['ViL, fp32'] == blocked
    assert results['kernels']['ViL, tiny, fp32'] == blocked
    assert 'forward_ms' in results['scans']['VMamba, fp32']


def test_a_peer_that_raises_or_is_missing_costs_its_row(results):
    assert results['peers']['VMamba, fp32, broken'] == {'error': 'RuntimeError: this peer is broken'}
    assert 'not installed' in results['peers']['VMamba, fp32, missing']['not measured']
    assert 'Unknown model' in results['models']['nothing, 1 x 3 x 32 x 32, fp32, eager']['error']
    assert 'infer_step_time' in results['models']['VMamba, 1 x 3 x 32 x 32, fp32, graph']


def test_out_of_time_skips_the_rest(tmp_path):
    session = _session(tmp_path / 'results.json')

    def slow() -> dict:
        time.sleep(0.05)
        return {'figure': 1.0}

    session.run('some', 0.02, iter([('first', slow), ('second', slow)]))
    session.run('more', 60, iter([('third', slow)]))
    assert json.loads(session.file.read_text()) == {
        'some': {'first': {'figure': 1.0}, 'second': {'not measured': 'out of time'}},
        'more': {'third': {'figure': 1.0}},
    }


def test_a_process_that_dies_costs_the_row_that_it_was_at(tmp_path):
    """The next one goes on behind it; one that comes to no row is not started again."""
    file = tmp_path / 'results.json'
    code = f"""
import json, os, pathlib
file = pathlib.Path({str(file)!r})
done = json.loads(file.read_text()) if file.exists() else []
for row in range(3):
    if row not in done:
        done.append(row)
        file.write_text(json.dumps(done))
        if row == 1:
            os._exit(3)
"""
    assert supervisor.supervise([sys.executable, '-c', code], file, time.time() + 60) == 0
    assert json.loads(file.read_text()) == [0, 1, 2]
    none = tmp_path / 'none.json'
    assert supervisor.supervise([sys.executable, '-c', 'raise SystemExit(2)'], none, time.time() + 60) == 2


def test_a_process_that_hangs_is_ended(tmp_path):
    code = 'import time; time.sleep(60)'
    began = time.time()
    assert supervisor.supervise([sys.executable, '-c', code], tmp_path / 'f.json', began + 60, stall=0.5) != 0
    assert time.time() - began < 30


def test_a_new_process_measures_only_what_is_missing(tmp_path):
    _session(tmp_path / 'results.json').run('some', 60, iter([('first', lambda: {'figure': 1.0})]))
    again = _session(tmp_path / 'results.json')
    again.run('some', 60, iter([('first', lambda: {'figure': 2.0}), ('second', lambda: {'figure': 2.0})]))
    assert again.results['some'] == {'first': {'figure': 1.0}, 'second': {'figure': 2.0}}


def test_the_tables_are_written_from_the_results(results):
    text = table.markdown(results)
    for words in ('### All scans of a model', '| VMamba, fp32 |', '### Each kernel alone', '### Tiles', 'a dry run'):
        assert words in text
    assert '- mLSTM, fp32: tiny: WRONG, forward 1, gradients 1' in text
    assert '- not measured, peers: VMamba, fp32, broken: RuntimeError: this peer is broken' in text


def test_models_are_written_in_timms_columns(results):
    rows = list(csv.DictReader(io.StringIO(table.as_csv(results))))
    assert {row['model'] for row in rows} == {'test_vmamba'}
    timm = ('infer_samples_per_sec', 'infer_step_time', 'infer_batch_size', 'infer_img_size', 'infer_gmacs')
    assert all(row[column] for row in rows for column in (*timm, 'train_step_time', 'param_count'))


def test_a_dry_run_gets_into_no_document(results, tmp_path):
    file, document = tmp_path / 'results.json', tmp_path / 'BENCHMARKS.md'
    file.write_text(json.dumps(results))
    document.write_text(DOCUMENT.read_text())
    with pytest.raises(SystemExit, match='dry run'):
        gpu.main(['--table', str(file), '--into', str(document)])
    assert document.read_text() == DOCUMENT.read_text()


def test_figures_stand_between_the_markers_of_the_document():
    measured = {
        'machine': {'what': dict(name='A card', torch='2', triton='3', python='3.12')},
        'scans': {'VMamba-T, bf16': {'forward_ms': 1.0}},
    }
    before = DOCUMENT.read_text()
    once = table.written(before, measured)
    assert '| VMamba-T, bf16 | 1 |' in once
    assert table.NONE not in once
    assert table.written(once, measured) == once
    nothing = {'machine': measured['machine']}
    assert table.NONE in table.written(once, nothing)
    with pytest.raises(ValueError, match='has no line'):
        table.written('no markers', measured)


def _travel(folder: Path, moved: Path) -> dict:
    """One kernel, compiled and found again where its folder was moved to."""
    import triton

    from benchmarks.gpu import launches, precompile
    from benchmarks.gpu.plan import TINY

    target = precompile.parse_target('cuda:90')
    precompile.prepare(target)
    binaries = launches.distinct(launches.launches_of(TINY.checks[0].work, 'fp32'))
    carry = next(each for each in binaries if each.name == 'carry')
    kernel = launches.scan_launch.carry
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('TRITON_CACHE_DIR', str(folder))
        made = precompile.compile_one(carry)
        precompile.pack(folder, target)
        folder.rename(moved)
        patch.setenv('TRITON_CACHE_DIR', str(moved))
        unfit = [precompile.use_cache(moved, each)['unfit'] for each in (target, precompile.parse_target('hip:gfx942'))]
        getattr(kernel, 'device_caches', getattr(kernel, 'cache', None)).clear()  # as in a new process
        found = precompile.compile_one(carry)
    told = hasattr(triton, 'knobs')  # whether Triton says what it finds
    return {'binaries': len(binaries), 'made': made, 'found': found, 'told': told, 'unfit': unfit}


def test_compiled_kernels_travel(compiled, tmp_path):
    (tmp_path / 'made').mkdir()
    told = compiled(_travel, tmp_path / 'made', tmp_path / 'moved')
    assert told['binaries'] == 6
    assert told['made'] == (False, '')
    assert told['found'] == (told['told'], '')
    assert told['unfit'] == ['', 'target cuda:90, here hip:gfx942']


def test_without_a_gpu_it_ends_with_a_message(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setenv('MMVSSM_SELF_CHECK', 'warn')
    with pytest.raises(SystemExit, match='no GPU'):
        gpu.main(['--end', '1', '--out', str(tmp_path / 'out')])
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('text', ['cuda', 'cuda:x', 'hip:90', 'tpu:1'])
def test_a_wrong_target_is_named(text):
    pytest.importorskip('triton')
    from benchmarks.gpu import precompile

    with pytest.raises(ValueError, match='is no target'):
        precompile.parse_target(text)
