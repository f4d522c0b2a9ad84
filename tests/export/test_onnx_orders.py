"""Order tables computed in an ONNX graph are those of `mmvssm.scans`, at every size."""

import numpy as np
import pytest
import torch
from torch import nn

from mmvssm import scans
from mmvssm.export import nodes, write

NAMES = [*scans.LOCAL_SCAN, *scans.ATROUS_SCAN, 'w3', 'w5_flip']
SIZES = [(7, 7), (13, 17), (2, 9), (8, 3), (14, 14)]


class Tables(nn.Module):
    """An image's tables, with a row of its own for every order."""

    def forward(self, image):
        return scans.orders(NAMES, *image.shape[2:], image.device).index + image.sum().int() * 0


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Image -> tables, by a graph that was made at another size than any that is tried."""
    path = tmp_path_factory.mktemp('tables') / 'tables.onnx'
    program = write._trace(Tables(), (24, 40), dynamic=True, nodes=True)
    (runtime,) = write._write(program, path, 'onnx', 'plain', ['tables'], openvino=False)
    return runtime.run


@pytest.mark.parametrize('size', SIZES, ids='{0[0]}x{0[1]}'.format)
def test_tables_are_the_same(size, run):
    (found,) = run(torch.zeros(2, 3, *size))
    wanted = scans.build(NAMES, *size).index.numpy()
    different = [
        name for name, one, other in zip(NAMES, found.numpy(), wanted, strict=True) if not np.array_equal(one, other)
    ]
    assert different == []
    assert found.shape[1] == nodes.steps(NAMES, *size)
