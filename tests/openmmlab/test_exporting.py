"""Parts of detectors and segmentors that are exported."""

import pytest
import torch
from torch import nn

from mmvssm.openmmlab.exporting import MeanOverBins


@pytest.mark.parametrize('size', [(6, 6), (7, 5), (1, 9), (16, 4)], ids=str)
@pytest.mark.parametrize('bins', [1, 2, 3, 6])
def test_pooling_by_tables_is_torch_s(size, bins):
    x = torch.randn(2, 3, *size)
    assert torch.allclose(MeanOverBins((bins, bins))(x), nn.AdaptiveAvgPool2d(bins)(x), atol=1e-6)
