"""The check of images in traced programs; what each family refuses is part of the contract."""

import runpy
import warnings

import pytest
import torch
import torch._dynamo.testing
from torch import nn

from mmvssm import create_model
from mmvssm.backbones import _images
from mmvssm.backbones._images import check_image

pytestmark = pytest.mark.filterwarnings('ignore')  # tracing turns sizes into constants, and says so


class Sum(nn.Module):
    """A part of a model whose trace holds numbers of the image's size."""

    def forward(self, x):
        x = check_image(x, 3, 1)
        return x.flatten(1) @ torch.ones(3 * int(x.shape[2]) * int(x.shape[3]), 1)


@pytest.fixture(scope='module')
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp('traced') / 'program.pt'
    torch.jit.trace(Sum(), torch.randn(1, 3, 5, 8)).save(path)
    return torch.jit.load(path)


def test_a_traced_program_takes_any_batch_of_its_size(program):
    x = torch.randn(4, 3, 5, 8)
    torch.testing.assert_close(program(x), x.sum((1, 2, 3))[:, None])


@pytest.mark.parametrize('size', [(8, 5), (4, 10), (5, 1), (10, 16)], ids=str)
def test_a_traced_program_refuses_another_size(program, size):
    with pytest.raises(torch.jit.Error, match=f'traced for images of 5 x 8 pixels; got {size[0]} x {size[1]}'):
        program(torch.randn(1, 3, *size))


def test_what_is_no_image_is_not_traced():
    with pytest.raises(ValueError, match=r'floating-point image of at least 1 x 1 pixels, in_chans=3; got \(3, 5, 8\)'):
        torch.jit.trace(Sum(), torch.randn(3, 5, 8))


def test_compiled_with_dynamic_sizes_it_makes_no_second_program():
    counter = torch._dynamo.testing.CompileCounter()
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: check_image(x, 3, 4) + 1, dynamic=True, fullgraph=True, backend=counter)
    for size in ((2, 3, 5, 8), (3, 3, 9, 7), (4, 3, 64, 30)):
        assert compiled(torch.zeros(size)).shape == size
    assert counter.frame_count == 1


def test_tracing_warns_of_nothing_of_ours():
    model = create_model('test_vim', img_size=32).eval()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        runpy.run_path(_images.__file__)  # filters anew, as on import: pytest puts those of before aside
        torch.jit.trace(model, torch.randn(1, 3, 32, 32), check_trace=False)
    assert not [w for w in seen if issubclass(w.category, torch.jit.TracerWarning)]
