"""Both ONNX forms of the scan against the operator, along every kind of order."""

import pytest
import torch
from torch import nn

from mmvssm import scans
from mmvssm.errors import UsageError
from mmvssm.export import ExportError, check, export, write
from mmvssm.kernels import selective_scan


class Scan(nn.Module):
    """One scan of an image's pixels, with parameters of K directions."""

    def __init__(self, names, states=1, rank=2, merge=True, own=False, skip=True):
        super().__init__()
        K, d, self.names, self.merge, self.own = len(names), 3, names, merge, own
        generator = torch.Generator().manual_seed(0)

        def draw(*shape):
            return nn.Parameter(torch.randn(*shape, generator=generator))

        self.A = nn.Parameter(-torch.rand(K, d, states, generator=generator) - 0.1)
        self.D, self.bias, self.weight = draw(K, d) if skip else None, draw(K, d) if skip else None, None
        width = d if rank is None else rank
        self.weight = None if rank is None else draw(K, d, rank)
        self.project = nn.Linear(d, K * (width + 2 * states))
        self.parts = [width, states, states]

    def forward(self, image):
        x = image.permute(0, 2, 3, 1)
        _, height, width, _ = x.shape
        orders = scans.orders(self.names, height, width, x.device)
        tokens = x.flatten(1, 2)
        dt, B, C = self.project(tokens).unflatten(-1, (len(self.names), -1)).split(self.parts, -1)
        if self.own:
            tokens = tokens[:, :, None].expand(-1, -1, len(self.names), -1)
        return selective_scan(
            tokens, dt, self.A, B, C, self.D, self.bias, dt_weight=self.weight, orders=orders, merge=self.merge
        )


CASES = {
    'VMamba': dict(names=['h', 'v', 'h_flip', 'v_flip']),
    'LocalVMamba': dict(names=['h', 'v_flip', 'w2', 'w7_flip'], states=4, merge=False),
    'EfficientVMamba': dict(names=['atrous0', 'atrous1', 'atrous2', 'atrous3'], states=2),
    'own tokens of each direction': dict(names=['h', 'h_flip'], own=True),
    'expanded dt': dict(names=['h'], rank=None),
    'without skip and bias': dict(names=['v'], skip=False),
}


@pytest.mark.parametrize('scan', ['plain', 'attention'])
@pytest.mark.parametrize('case', CASES)
def test_one_file_for_all_sizes(case, scan, tmp_path):
    found = export(Scan(**CASES[case]), tmp_path / 'scan.onnx', size=(24, 40), dynamic=True, scan=scan)
    assert len(found.errors) == 5
    assert max(found.errors.values()) < 1e-5
    assert found.path.is_file()


def test_a_user_s_order_at_one_size_is_a_constant(tmp_path):
    snake = lambda H, W: torch.arange(H * W).flip(0)  # noqa: E731
    assert max(export(Scan([snake]), tmp_path / 'a.onnx', size=(9, 7)).errors.values()) < 1e-5
    with pytest.raises(UsageError, match='the order <lambda> cannot be computed in a graph of every size'):
        export(Scan([snake]), tmp_path / 'b.onnx', dynamic=True)


def test_long_sequences_need_all_the_levels(tmp_path):
    found = export(Scan(['h']), tmp_path / 'a.onnx', size=(130, 250))
    assert max(found.errors.values()) < 1e-5


class Off(nn.Module):
    """Not the same function when it is exported."""

    def forward(self, image):
        return image * (1.001 if torch.compiler.is_exporting() else 1.0)


def test_a_file_that_does_not_agree_is_not_kept(tmp_path):
    with pytest.raises(ExportError, match=r'onnxruntime on .*: an output is off by 1\.0e-03, more than 1e-04'):
        export(Off(), tmp_path / 'a.onnx', size=(32, 32))
    assert list(tmp_path.iterdir()) == []


class Branching(nn.Module):
    def forward(self, image):
        return image if image.sum() > 0 else -image


def test_a_model_that_cannot_be_followed_says_so(tmp_path):
    with pytest.raises(ExportError, match=r'torch\.export cannot follow this model'):
        export(Branching(), tmp_path / 'a.onnx', size=(32, 32))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(format='tflite'), "format='tflite' is not known; allowed: onnx, pt2"),
        (dict(scan='fast'), "scan='fast' is not known; allowed: plain, attention"),
        (dict(format='pt2'), 'ends with .pt2'),
    ],
    ids=lambda value: str(value)[:20],
)
def test_unknown_options(options, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        export(Scan(['h']), tmp_path / 'a.onnx', **options)


def test_a_dynamic_model_is_tried_at_five_sizes_and_batches():
    tried = write.shapes((224, 224), dynamic=True)
    assert len(set(tried)) == 5
    assert {shape[0] for shape in tried} == {1, 2, 3}
    assert any(shape[2] % 2 and shape[3] % 2 for shape in tried)
    assert all(shape[2] % 32 == shape[3] % 32 == 0 for shape in write.shapes((224, 224), True, multiple=32))
    assert check.error_of(torch.ones(2), torch.ones(3)) == float('inf')
