"""What a block of each family launches on a GPU, at most; the figures stand in kernels/README.md."""

from pathlib import Path

import pytest
import torch

from . import dispatch

# in float32, and under autocast in bfloat16; a change that launches less lowers its line
MOST = {
    'test_vmamba': (16, 27),
    'test_localvmamba': (16, 28),
    'test_vim': (20, 28),
    'test_localvim': (34, 45),
    'test_efficientvmamba': (34, 53),
    'test_vil': (34, 52),
}


def test_every_family_has_its_line():
    assert tuple(MOST) == dispatch.FAMILIES


@pytest.mark.parametrize('name', MOST)
def test_launches_of_a_block(compiled, name):
    pytest.importorskip('triton')
    single, half = (compiled(dispatch.launches_of_blocks, name, dtype) for dtype in (None, torch.bfloat16))
    assert single <= MOST[name][0]
    assert half <= MOST[name][1]
    table = (Path(__file__).parents[2] / 'kernels/README.md').read_text()
    assert f'| {name.removeprefix("test_")} | {single} | {half} |' in table, 'python -m tests.kernels.dispatch'
