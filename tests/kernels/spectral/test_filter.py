"""The spectral filter against sums written out, on both of its fast paths, and as a torch.library operator."""

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mmvssm.kernels import resize_spectral_weight, spectral_filter, use_backend
from mmvssm.kernels.spectral import blocked, fft, reference

TRANSFORMS = ('dct', 'hartley')
SIZES = [(1, 1), (1, 2), (2, 1), (3, 4), (5, 7), (6, 9), (8, 8), (13, 17), (1, 31)]
# the spec's example: a 3 x 4 map, W[k, l] = (4 k + l + 1) / 10
MAP = torch.tensor([[1.0, 2, 0, -1], [3, -2, 1, 4], [0, 5, -3, 2]], dtype=torch.float64)
GAIN = (torch.arange(12, dtype=torch.float64).view(3, 4) + 1) / 10
DCT = [
    [48, 7.019618, 16.970563, -27.399361],
    [-6.928203, 4.847725, -4.898979, 24.505093],
    [-12, 15.941388, -25.455844, -28.033411],
]
HARTLEY = [
    [12, 6, -8, 6],
    [-1.267949, 9.928203, 14.392305, -14.660254],
    [-4.732051, -3.928203, -6.392305, 2.660254],
]
CAS_CAS = [
    [12, 6, -8, 6],
    [-1.267949, -5.660254, 14.392305, 0.928203],
    [-4.732051, 11.660254, -6.392305, -12.928203],
]
FILTERED = {
    'dct': [
        [-0.408088, 1.366667, -0.166667, -1.791912],
        [2.074755, -3.904044, 1.404044, 2.625245],
        [-1.278799, 3.720220, -2.720220, 0.278799],
    ],
    'hartley': [
        [-0.496410, 0.419060, -0.011880, -1.141710],
        [1.680940, -2.672650, 1.265470, 1.988120],
        [-0.584530, 2.853590, -2.453590, 0.353590],
    ],
}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(params=['matmul', 'fft'])
def fast_path(request, monkeypatch):
    monkeypatch.setattr(blocked, 'MATMUL_LIMIT', dict.fromkeys(TRANSFORMS, {'matmul': 10**6, 'fft': 0}[request.param]))
    return request.param


def cas(angle: float) -> float:
    return math.cos(angle) + math.sin(angle)


def spectrum_by_sums(x: torch.Tensor, transform: str) -> torch.Tensor:
    """The unnormalised spectrum of one (H, W) map, term by term."""
    height, width = x.shape
    out = torch.zeros_like(x)
    for k in range(height):
        for l in range(width):  # noqa: E741
            for m in range(height):
                for n in range(width):
                    if transform == 'dct':
                        row = 2 * math.cos(math.pi * (2 * m + 1) * k / (2 * height))
                        basis = row * 2 * math.cos(math.pi * (2 * n + 1) * l / (2 * width))
                    else:
                        basis = cas(2 * math.pi * (k * m / height + l * n / width))
                    out[k, l] += x[m, n] * basis
    return out


def orthonormal(spectrum: torch.Tensor, transform: str) -> torch.Tensor:
    if transform == 'hartley':
        return spectrum / math.sqrt(spectrum.numel())
    for dim, n in enumerate(spectrum.shape):
        scale = torch.full((n,), math.sqrt(1 / (2 * n)), dtype=spectrum.dtype)
        scale[0] = math.sqrt(1 / (4 * n))
        spectrum = spectrum * (scale[:, None] if dim == 0 else scale)
    return spectrum


def as_batch(x: torch.Tensor) -> torch.Tensor:
    return x[None, ..., None]


@pytest.mark.parametrize(('transform', 'published'), [('dct', DCT), ('hartley', HARTLEY)], ids=TRANSFORMS)
def test_sums_give_the_spectrum_of_the_example(transform, published):
    torch.testing.assert_close(spectrum_by_sums(MAP, transform), MAP.new_tensor(published), rtol=0, atol=1e-6)


def test_cas_cas_transform_is_another_one():
    """H[k, l] = (T[k, l] + T[-k, l] + T[k, -l] - T[-k, -l]) / 2."""
    t = MAP.new_tensor(CAS_CAS)
    rows, columns = -torch.arange(3) % 3, -torch.arange(4) % 4
    mixed = (t + t[rows] + t[:, columns] - t[rows][:, columns]) / 2
    torch.testing.assert_close(mixed, MAP.new_tensor(HARTLEY), rtol=0, atol=2e-6)


@pytest.mark.parametrize('transform', TRANSFORMS)
@pytest.mark.parametrize(('height', 'width'), [(3, 4), (1, 5), (4, 1), (5, 6)])
def test_both_implementations_are_the_sums(transform, height, width):
    x = torch.randn(height, width, dtype=torch.float64)
    expected = orthonormal(spectrum_by_sums(x, transform), transform)
    tables = reference.tables(transform, height, width, x.dtype)
    torch.testing.assert_close(reference.forward(as_batch(x), transform, tables)[0, ..., 0], expected)
    torch.testing.assert_close(fft.forward(as_batch(x), transform)[0, ..., 0], expected)


@pytest.mark.parametrize('transform', TRANSFORMS)
@pytest.mark.parametrize(('height', 'width'), SIZES)
def test_inverse_undoes_forward(transform, height, width):
    x = torch.randn(2, height, width, 3, dtype=torch.float64)
    torch.testing.assert_close(fft.inverse(fft.forward(x, transform), transform), x)
    tables = reference.tables(transform, height, width, x.dtype)
    torch.testing.assert_close(reference.inverse(reference.forward(x, transform, tables), transform, tables), x)


@pytest.mark.parametrize('transform', TRANSFORMS)
def test_example_of_the_layer(transform, fast_path):
    out = spectral_filter(as_batch(MAP), GAIN[None], transform=transform)[0, ..., 0]
    torch.testing.assert_close(out, MAP.new_tensor(FILTERED[transform]), rtol=0, atol=1e-6)


@pytest.mark.parametrize('transform', TRANSFORMS)
def test_hartley_gain_convolves_the_map_and_its_reflection(transform):
    """An even gain convolves around the borders for 'hartley' (cyclic), not for 'dct' (reflecting)."""
    x = torch.zeros(1, 9, 9, 1, dtype=torch.float64)
    x[0, 0, 0] = 1
    frequency = torch.arange(9, dtype=torch.float64)
    gain = torch.exp(-torch.minimum(frequency, 9 - frequency) if transform == 'hartley' else -frequency / 2)
    out = spectral_filter(x, (gain[:, None] * gain)[None], transform=transform)[0, ..., 0]
    wraps = out[0, 8] > 0.5 * out[0, 1]
    assert bool(wraps) == (transform == 'hartley')


@pytest.mark.parametrize('transform', TRANSFORMS)
@pytest.mark.parametrize(('height', 'width'), SIZES)
@pytest.mark.parametrize(
    ('dtype', 'forward', 'backward'),
    [(torch.float32, 1e-6, 1e-5), (torch.float16, 2e-3, 5e-3), (torch.bfloat16, 8e-3, 2e-2)],
    ids=['float32', 'float16', 'bfloat16'],
)
def test_accuracy_against_float64(transform, height, width, dtype, forward, backward, fast_path):
    x = torch.randn(2, height, width, 5).to(dtype)
    weight = torch.randn(5, height, width)
    grad = torch.randn(2, height, width, 5, dtype=torch.float64)
    results = []
    for cast, backend in ((torch.float64, 'reference'), (dtype, 'auto')):
        a = x.to(cast).requires_grad_()
        w = weight.to(torch.promote_types(cast, torch.float32)).requires_grad_()
        y = spectral_filter(a, w, transform=transform, backend=backend)
        y.backward(grad.to(y.dtype))
        results.append((y, a.grad, w.grad))
    for name, exact, got in zip(('y', 'dx', 'dweight'), *results):
        error = (got.double() - exact).square().mean().sqrt() / exact.square().mean().sqrt()
        assert error <= (forward if name == 'y' else backward), f'{name}: {error:.1e}'


@pytest.mark.parametrize('backend', ['reference', 'auto'])
@pytest.mark.parametrize('transform', TRANSFORMS)
def test_gradcheck(transform, backend, fast_path):
    x = torch.randn(2, 3, 5, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda *a: spectral_filter(*a, transform=transform, backend=backend), (x, weight))


@pytest.mark.parametrize('transform', TRANSFORMS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_opcheck(transform, dtype, fast_path):
    x = torch.randn(2, 3, 5, 4, dtype=dtype, requires_grad=True)
    weight = torch.randn(4, 3, 5, dtype=torch.promote_types(dtype, torch.float32), requires_grad=True)
    torch.library.opcheck(torch.ops.mmvssm.spectral_filter, (x, weight, transform))
    torch.library.opcheck(
        torch.ops.mmvssm.spectral_filter_backward,
        (torch.randn(2, 3, 5, 4).to(weight.dtype), x.detach(), weight.detach(), transform),
    )


def test_compiles_with_dynamic_sizes():
    torch._dynamo.reset()
    weight = torch.randn(3, 6, 6, requires_grad=True)

    def loss(x, weight):
        return spectral_filter(x, weight).square().sum()

    compiled = torch.compile(loss, fullgraph=True, dynamic=True, backend='aot_eager')
    for size in ((5, 9), (8, 4), (11, 7)):
        x = torch.randn(2, *size, 3)
        expected = torch.autograd.grad(loss(x, weight), weight)[0]
        torch.testing.assert_close(torch.autograd.grad(compiled(x, weight), weight)[0], expected)


def test_exports_to_plain_products():
    class Filter(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(3, 4, 4))

        def forward(self, x):
            return spectral_filter(x, self.weight)

    model = Filter()
    sizes = {1: torch.export.Dim('height', min=2, max=64), 2: torch.export.Dim('width', min=2, max=64)}
    example = torch.randn(1, 4, 7, 3)  # its height is the weight's own and must not become a condition
    program = torch.export.export(model, (example,), dynamic_shapes=dict(x=sizes), strict=False)
    assert not [n for n in program.graph.nodes if 'mmvssm' in str(n.target)]
    for x in (example, torch.randn(1, 9, 4, 3)):
        torch.testing.assert_close(program.module()(x), model(x))


@pytest.mark.parametrize('transform', TRANSFORMS)
def test_any_strides_and_an_empty_batch(transform, fast_path):
    base = torch.randn(2, 8, 5, 7)
    weight = torch.randn(7, 5, 4).transpose(1, 2).requires_grad_()
    view = base.permute(0, 2, 3, 1)[..., ::2].permute(0, 2, 3, 1)[..., :7]  # (2, 7, 4, 5): nothing contiguous
    x = view.permute(0, 2, 3, 1).requires_grad_()
    torch.testing.assert_close(
        spectral_filter(x, weight, transform=transform),
        spectral_filter(x.contiguous(), weight.contiguous(), transform=transform),
    )
    empty = torch.empty(0, 4, 5, 7, requires_grad=True)
    out = spectral_filter(empty, weight, transform=transform)
    out.sum().backward()
    assert out.shape == empty.grad.shape == (0, 4, 5, 7)


def test_autocast_changes_nothing(fast_path):
    x, weight = torch.randn(2, 5, 6, 3), torch.randn(3, 4, 4, requires_grad=True)
    expected = spectral_filter(x, weight)
    (expected_grad,) = torch.autograd.grad(expected.sum(), weight)
    for backend in ('auto', 'reference'):
        with torch.autocast('cpu', dtype=torch.bfloat16):
            out = spectral_filter(x, weight, backend=backend)
        (grad,) = torch.autograd.grad(out.sum(), weight)
        torch.testing.assert_close(out, expected)
        torch.testing.assert_close(grad, expected_grad)


def test_reduced_precision_products_are_not_used():
    x, weight = torch.randn(1, 9, 9, 4), torch.randn(4, 9, 9)
    expected = spectral_filter(x.double(), weight)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision('medium')
        out = spectral_filter(x, weight)
    finally:
        torch.set_float32_matmul_precision(before)
    torch.testing.assert_close(out.double(), expected, rtol=0, atol=1e-5)


def test_runs_are_bitwise_equal(fast_path):
    x, weight = torch.randn(2, 13, 17, 6), torch.randn(6, 13, 17)
    first = spectral_filter(x, weight)
    assert all(torch.equal(spectral_filter(x, weight), first) for _ in range(20))


def test_flops_leave_the_transforms_out():
    with FlopCounterMode(display=False) as mode:
        spectral_filter(torch.randn(1, 4, 4, 2), torch.randn(2, 4, 4))
    assert mode.get_total_flops() == 0


def test_every_backend_name_is_accepted():
    x, weight = torch.randn(1, 4, 5, 2), torch.randn(2, 4, 5)
    expected = spectral_filter(x, weight)
    for name in ('reference', 'blocked', 'numba', 'triton', 'auto'):
        with use_backend(name):
            torch.testing.assert_close(spectral_filter(x, weight), expected)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(transform='fourier'), "transform='fourier'.*dct, hartley"),
        (dict(mode='cubic'), "mode='cubic'.*linear, trig, index"),
        (dict(backend='cuda'), "backend='cuda'"),
        (dict(weight=torch.ones(3, 4, 5)), r'weight \(C, h, w\)'),
    ],
    ids=lambda v: v if isinstance(v, str) else '',
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        spectral_filter(torch.ones(1, 4, 5, 2), **{'weight': torch.ones(2, 4, 5), **kwargs})


def test_weight_of_another_size_is_resized():
    x, weight = torch.randn(1, 6, 9, 2), torch.randn(2, 4, 4)
    resized = resize_spectral_weight(weight, (6, 9), 'hartley', 'trig')
    torch.testing.assert_close(
        spectral_filter(x, weight, transform='hartley', mode='trig'), spectral_filter(x, resized, transform='hartley')
    )
