"""The benchmarks run, and time nothing that is wrong. No test asserts a time."""

import json
import sys

import pytest
import torch

from benchmarks import cases, compare, peers, run, spectral
from mmvssm.kernels import register, selective_scan


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(run, 'timed', lambda call, *_: (call(), 1.0)[1])
    monkeypatch.setattr(run, 'peak_mib', lambda call, *_: (call(), 1.0)[1])
    monkeypatch.setattr(spectral, 'timed', lambda call, *_: (call(), 1.0)[1])
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_every_backend_and_the_loop_are_right(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(run, 'SHAPES', {'tiny': (1, 3, 5, 6, 2, 1, ('h', 'v_flip'))})
    monkeypatch.setattr(sys, 'argv', ['run', '--shapes', 'tiny', '--threads', '1', '--json', str(tmp_path / 'f.json')])
    run.main()
    rows = json.loads((tmp_path / 'f.json').read_text())['results']['tiny']
    assert [row['backend'] for row in rows] == ['numba', 'blocked', 'loop']
    assert 'WRONG' not in capsys.readouterr().out


def test_what_is_wrong_is_not_timed(monkeypatch, capsys):
    monkeypatch.setattr(run, 'SHAPES', {'tiny': (1, 3, 5, 6, 2, 1, ('h',))})
    right = peers.loop
    monkeypatch.setattr(peers, 'loop', lambda *given: 2 * right(*given))
    monkeypatch.setattr(sys, 'argv', ['run', '--shapes', 'tiny', '--threads', '1'])
    run.main()
    assert 'loop       WRONG, not timed: y 1.0e+00' in capsys.readouterr().out


def test_the_published_loop_is_the_definition():
    tensors, orders = cases.inputs((1, 4, 5, 3, 2, 1, ('h', 'w2')), 'cpu', torch.float32)
    wanted = selective_scan(*tensors[:7], dt_weight=tensors[7], orders=orders, backend='reference')
    with register('selective_scan', 'loop', peers.loop):
        found = selective_scan(*tensors[:7], dt_weight=tensors[7], orders=orders, backend='loop')
    torch.testing.assert_close(found, wanted)


def test_models_run_on_the_loop(monkeypatch):
    rows = run.model_rows(('test_vmamba', 64), type('Args', (), dict(device='cpu', no_loop=False)))
    assert [row['backend'] for row in rows] == ['auto', 'loop']
    assert not any('wrong' in row for row in rows)


def test_the_spectral_filter_is_timed_both_ways(monkeypatch):
    assert spectral.measure((1, 6, 5, 2, 4), 'dct', 'cpu') == [1.0] * 5


def test_cases_of_two_trees_are_public_functions(monkeypatch):
    monkeypatch.setattr(compare, 'MODELS', ('test_vmamba',))
    names = []
    for name, call in compare.cases():
        call()
        names.append(name)
    models = ['model test_vmamba forward', 'model test_vmamba step']
    assert names == ['scan N=1', 'scan N=16', 'mlstm', 'spectral', *models]
