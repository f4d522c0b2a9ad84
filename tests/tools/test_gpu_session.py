"""The measuring session says so when there is nothing to measure on."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / 'tools/gpu_session.py'


def test_without_a_gpu_it_ends_with_a_message(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(sys, 'argv', ['gpu_session.py', '--out', str(tmp_path / 'out')])
    with pytest.raises(SystemExit, match='no GPU'):
        runpy.run_path(str(SCRIPT), run_name='__main__')
    assert not (tmp_path / 'out').exists()
