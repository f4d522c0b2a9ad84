"""The measuring session says so when there is nothing to measure on."""

import sys

import pytest
import torch

from benchmarks import gpu


def test_without_a_gpu_it_ends_with_a_message(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(sys, 'argv', ['gpu', '--out', str(tmp_path / 'out')])
    with pytest.raises(SystemExit, match='no GPU'):
        gpu.main()
    assert not (tmp_path / 'out').exists()
