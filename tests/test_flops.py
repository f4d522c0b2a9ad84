"""Multiply-adds: by the stated convention, the same on every machine, told apart by term."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmvssm import count_flops, create_model, flop_terms, list_models
from mmvssm.kernels import use_backend
from mmvssm.kernels.mlstm import blocked, chunkwise_flops
from mmvssm.kernels.mlstm.gates import gate_terms

SHAPE = (1, 3, 64, 96)


class Normed(nn.Module):
    """A norm that is a function, with its constant outside of parameters and buffers."""

    def __init__(self):
        super().__init__()
        self.gain = torch.full((4,), 2.0)

    def forward(self, x):
        return F.layer_norm(x, (4,), weight=self.gain) * self.gain


class Squared(nn.Module):
    def forward(self, weight):
        return weight @ weight


class Attention(nn.Module):
    def forward(self, x):
        return F.scaled_dot_product_attention(x, x[..., :3, :], x[..., :3, :])


@pytest.mark.parametrize(
    ('module', 'per_element'),
    [
        (nn.BatchNorm2d(8), 2),
        (nn.BatchNorm2d(8, affine=False, track_running_stats=False), 2),
        (nn.SyncBatchNorm(8), 2),
        (nn.RMSNorm(4), 3),
        (nn.LayerNorm(4), 5),
        (nn.GroupNorm(2, 8), 5),
        (nn.InstanceNorm2d(8), 5),
        (Normed(), 5),
        (nn.ReLU(), 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
@pytest.mark.parametrize('batch', [1, 3])
def test_norms_count_by_element(module, per_element, batch):
    assert count_flops(module, (batch, 8, 4, 4)) == per_element * batch * 8 * 4 * 4


@pytest.mark.parametrize(
    ('module', 'count'),
    [
        (nn.Conv2d(8, 6, 3, stride=2, padding=1, groups=2), 6 * 2 * 2 * 4 * 9),
        (nn.ConvTranspose2d(8, 6, 2, stride=2), 4 * 4 * 8 * 6 * 4),
        (nn.Linear(4, 5), 8 * 4 * 4 * 5),
        (Attention(), 8 * 4 * 3 * (4 + 4)),
    ],
    ids=['grouped convolution', 'transposed convolution', 'linear', 'attention'],
)
def test_products_count_once(module, count):
    assert count_flops(module, (1, 8, 4, 4)) == count
    with torch.inference_mode():
        assert count_flops(module, (1, 8, 4, 4)) == count


@pytest.mark.parametrize('name', list_models('test_*'))
def test_the_backend_and_the_device_change_nothing(name):
    with torch.device('meta'):
        model = create_model(name)
    expected = count_flops(model, SHAPE)
    assert count_flops(model, (2, *SHAPE[1:])) == 2 * expected
    model = create_model(name)
    for backend in ('reference', 'blocked', 'auto'):
        with use_backend(backend):
            assert count_flops(model, SHAPE) == expected, backend


def test_numba_is_not_needed(monkeypatch):
    expected = count_flops(create_model('test_vmamba'), SHAPE)
    monkeypatch.setattr('mmvssm.kernels.backend.import_error', lambda op, backend: f'{backend} is not installed')
    assert count_flops(create_model('test_vmamba'), SHAPE) == expected


def spread(model: nn.Module) -> nn.Module:
    """Its classifier elsewhere, and the maps sent there by name."""
    model.classifier.to('meta')
    model.classifier.register_forward_pre_hook(lambda module, args: args[0].to('cpu'))
    return model


@pytest.mark.parametrize(
    'changed',
    [
        lambda model: model.half(),
        lambda model: model.to(torch.bfloat16),
        lambda model: model.double(),
        lambda model: model.train(),
        nn.DataParallel,
        torch.optim.swa_utils.AveragedModel,
        torch.compile,
        spread,
    ],
    ids=['half', 'bfloat16', 'double', 'train', 'DataParallel', 'averaged', 'compiled', 'two devices'],
)
def test_how_a_model_is_held_changes_nothing(changed):
    expected = count_flops(create_model('test_efficientvmamba'), SHAPE)
    assert count_flops(changed(create_model('test_efficientvmamba')), SHAPE) == expected


@pytest.mark.parametrize(
    'mode',
    [
        lambda: torch.autocast('cpu', torch.bfloat16),
        torch.inference_mode,
        torch.enable_grad,
        lambda: torch.device('meta'),
        lambda: FlopCounterMode(display=False),
    ],
    ids=['autocast', 'inference_mode', 'enable_grad', 'default device', 'FlopCounterMode'],
)
def test_what_surrounds_the_call_changes_nothing(mode):
    for name in list_models('test_*'):
        model = create_model(name)
        expected = count_flops(model, SHAPE)
        with mode():
            assert count_flops(model, SHAPE) == expected, name


def test_the_model_is_left_as_it_was():
    model = create_model('test_efficientvmamba').train()
    model.layers[2].eval()
    model.classifier.head = nn.Linear(7, 7)  # no width of this model: forward raises
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    with pytest.raises(RuntimeError):
        count_flops(model, SHAPE)
    assert [m.training for m in model.modules()] == modes
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize('shape', [(3, 96, 160), (1, 3, 0, 64), (1, 3, 64.0, 64), 224, None], ids=str)
def test_the_input_shape_is_checked(shape):
    with pytest.raises(ValueError, match=r'input_shape=.* must be \(B, C, H, W\)'):
        count_flops(nn.Identity(), shape)


@pytest.mark.parametrize(
    'program',
    [torch.jit.trace, lambda model, image: torch.export.export(model, (image,)).module()],
    ids=['traced', 'exported'],
)
def test_programs_are_refused_in_words(program):
    with pytest.raises(ValueError, match='count the model that it was made from'):
        count_flops(program(nn.Conv2d(3, 4, 1), torch.zeros(SHAPE)), SHAPE)


def test_a_graph_of_modules_counts_as_its_model():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4))
    assert count_flops(torch.fx.symbolic_trace(model), SHAPE) == count_flops(model, SHAPE)


def test_the_count_of_mlstm_is_checked():
    with pytest.raises(ValueError, match='allowed: published, as_run'):
        count_flops(nn.Identity(), SHAPE, mlstm='chunkwise')


def test_terms_add_up_by_operator_and_by_module():
    terms = flop_terms(create_model('test_vmamba'), SHAPE)
    assert terms.total == count_flops(create_model('test_vmamba'), SHAPE)
    assert sum(terms.by_operator().values()) == sum(terms.by_module(3).values()) == terms.total
    assert set(terms.by_operator()) == {'convolution', 'linear', 'scan', 'norm'}
    assert set(terms.by_module(1)) == {'patch_embed', 'layers', 'classifier'}


def test_block_diagonal_products_count_without_their_zeros():
    model = create_model('test_vil')
    projection = model.xlstm.blocks[0].xlstm.q_proj
    blocks, size, _ = projection.weight.shape
    tokens = (64 // 16) * (96 // 16)
    counts = flop_terms(model, SHAPE).counts
    assert counts['xlstm.blocks.0.xlstm.q_proj', 'linear'] == tokens * blocks * size * size


def test_work_on_weights_alone_does_not_count():
    model = nn.Linear(4, 4)
    nn.utils.parametrize.register_parametrization(model, 'weight', Squared(), unsafe=True)
    assert count_flops(model, (1, 8, 4, 4)) == 8 * 4 * 4 * 4


def mlstm_count(side: int, mlstm: str) -> int:
    return flop_terms(create_model('test_vil'), (1, 3, side, side), mlstm).by_operator()['mlstm']


def test_mlstm_grows_linearly_as_run_and_quadratically_as_published():
    side = 16 * 32  # 1,024 tokens
    for mlstm, growth in (('published', 16), ('as_run', 4)):
        assert mlstm_count(2 * side, mlstm) / mlstm_count(side, mlstm) == pytest.approx(growth, rel=0.03)


@pytest.mark.parametrize('length', [1, 200, 300, 1000])
def test_as_run_is_what_the_chunks_multiply(length):
    shape, dtype = (2, length, 3, 8), torch.float32
    q, k, v = (torch.randn(shape, dtype=dtype) for _ in range(3))
    gates = gate_terms(torch.randn(shape[:3]), torch.randn(shape[:3]), reverse=False)
    chunks = -(-length // (256 if length <= 256 else 128))
    with FlopCounterMode(display=False) as counter:
        blocked.forward(q, k, v, gates, reverse=False, chunk_size=-(-length // chunks), eps=1e-6)
    assert chunkwise_flops(shape) == counter.get_total_flops()


def test_a_name_is_no_model():
    with pytest.raises(TypeError, match=r"model='test_vmamba' must be an nn\.Module"):
        count_flops('test_vmamba', SHAPE)


@pytest.mark.parametrize('depth', ['a', -1, 1.0, None], ids=repr)
def test_the_depth_of_modules_is_checked(depth):
    with pytest.raises(ValueError, match=r'depth=.* must be an int, 0 '):
        flop_terms(nn.Conv2d(3, 4, 1), SHAPE).by_module(depth)
