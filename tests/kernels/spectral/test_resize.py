"""Resizing of spectral weights: the spec's example and the properties that define each rule."""

import math

import pytest
import torch

from mmvssm.kernels import resize_spectral_weight, spectral_filter
from mmvssm.kernels.spectral.resize import MODES, TRANSFORMS

GAIN = (torch.arange(12, dtype=torch.float64).view(3, 4) + 1) / 10
SIZES = [(5, 6), (2, 3), (3, 7), (6, 8), (1, 1), (4, 4)]


@pytest.mark.parametrize(
    ('transform', 'size', 'rows'),
    [
        ('dct', (5, 6), {0: [0.1, 1 / 6, 7 / 30, 0.3, 11 / 30, 0.4], 4: [0.9, 29 / 30, 31 / 30, 1.1, 7 / 6, 1.2]}),
        ('dct', (2, 3), {0: [0.1, 7 / 30, 11 / 30], 1: [0.7, 5 / 6, 29 / 30]}),
        (
            'hartley',
            (5, 6),
            {
                0: [0.1, 1 / 6, 7 / 30, 0.3, 11 / 30, 0.3],
                4: [0.58, 0.58 + 1 / 15, 0.58 + 2 / 15, 0.78, 0.78 + 1 / 15, 0.78],
            },
        ),
    ],
    ids=['dct-5x6', 'dct-2x3', 'hartley-5x6'],
)
def test_linear_example(transform, size, rows):
    out = resize_spectral_weight(GAIN, size, transform)
    for index, values in rows.items():
        torch.testing.assert_close(out[index], GAIN.new_tensor(values))


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('transform', TRANSFORMS)
def test_same_size_is_the_same_tensor(transform, mode):
    weight = torch.randn(2, 5, 6)
    assert resize_spectral_weight(weight, (5, 6), transform, mode) is weight


@pytest.mark.parametrize('mode', ['linear', 'trig'])
@pytest.mark.parametrize('transform', TRANSFORMS)
@pytest.mark.parametrize('size', SIZES, ids=str)
def test_constant_gain_stays_constant(transform, mode, size):
    weight = torch.full((1, 3, 4), 0.7, dtype=torch.float64)
    out = resize_spectral_weight(weight, size, transform, mode)
    torch.testing.assert_close(out, torch.full((1, *size), 0.7, dtype=torch.float64))
    x = torch.randn(1, *size, 1, dtype=torch.float64)
    torch.testing.assert_close(spectral_filter(x, weight, transform=transform, mode=mode), 0.7 * x)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('transform', TRANSFORMS)
@pytest.mark.parametrize('size', SIZES, ids=str)
def test_mean_gain_is_unchanged(transform, mode, size):
    torch.testing.assert_close(resize_spectral_weight(GAIN, size, transform, mode)[0, 0], GAIN[0, 0])


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('transform', TRANSFORMS)
@pytest.mark.parametrize('size', [(5, 6), (4, 7), (1, 2)], ids=str)
def test_doubling_and_halving_return_the_original(transform, mode, size):
    weight = torch.randn(2, *size, dtype=torch.float64)
    double = resize_spectral_weight(weight, (2 * size[0], 2 * size[1]), transform, mode)
    torch.testing.assert_close(resize_spectral_weight(double, size, transform, mode), weight)


@pytest.mark.parametrize('new', [9, 14, 5, 4])
@pytest.mark.parametrize('old', [6, 7])
def test_trig_keeps_the_spatial_kernel_of_a_cosine_gain(old, new):
    """A gain g0 + 2 g1 cos(theta) + 2 g2 cos(2 theta) of a 5-tap kernel is that of the same kernel at every size."""

    def gain(n):
        theta = math.pi * torch.arange(n, dtype=torch.float64) / n
        return 0.5 + 0.4 * torch.cos(theta) - 0.2 * torch.cos(2 * theta)

    theta = 2 * math.pi * torch.arange(old, dtype=torch.float64) / old
    periodic = 0.5 + 0.4 * torch.cos(theta) - 0.2 * torch.cos(2 * theta)
    theta = 2 * math.pi * torch.arange(new, dtype=torch.float64) / new
    target = 0.5 + 0.4 * torch.cos(theta) - 0.2 * torch.cos(2 * theta)
    out = resize_spectral_weight(periodic[None, :, None], (new, 1), 'hartley', 'trig')[0, :, 0]
    torch.testing.assert_close(out, target)
    # the DCT grid misses pi, where the rule repeats the last gain: exact as that error fades with size
    fine = resize_spectral_weight(gain(64 * old)[None, :, None], (new, 1), 'dct', 'trig')[0, :, 0]
    torch.testing.assert_close(fine, gain(new), rtol=0, atol=1e-3)


def test_trig_of_the_dct_goes_through_the_old_gains():
    weight = torch.randn(1, 6, 1, dtype=torch.float64)
    fine = resize_spectral_weight(weight, (18, 1), 'dct', 'trig')
    torch.testing.assert_close(fine[:, ::3], weight)


def test_index_copies_low_indices_and_fills_with_zeros():
    grown = resize_spectral_weight(GAIN, (4, 6), 'dct', 'index')
    torch.testing.assert_close(grown[:3, :4], GAIN)
    assert grown[3:].abs().sum() == grown[:, 4:].abs().sum() == 0
    torch.testing.assert_close(resize_spectral_weight(GAIN, (2, 3), 'dct', 'index'), GAIN[:2, :3])


@pytest.mark.parametrize(
    ('old', 'new', 'expected'),
    [
        ([0, 1, 2, 3], 6, [0, 1, 2, 0, 2, 3]),  # the gain at Nyquist goes to both signs
        ([0, 1, 2, 3], 5, [0, 1, 2, 2, 3]),
        ([0, 1, 2, -2, -1], 4, [0, 1, 0, -1]),  # the mean of both signs
        ([0, 1, 2, 3, -2, -1], 4, [0, 1, 0, -1]),
        ([0, 1, 2, 3, -2, -1], 3, [0, 1, -1]),
        ([0, 1, -1], 6, [0, 1, 0, 0, 0, -1]),
        ([5, 7], 1, [5]),
        ([5, 7], 3, [5, 7, 7]),
    ],
    ids=str,
)
def test_index_of_the_hartley_transform_is_signed(old, new, expected):
    weight = torch.tensor(old, dtype=torch.float64).view(1, 1, -1)
    out = resize_spectral_weight(weight, (1, new), 'hartley', 'index')
    assert out.flatten().tolist() == expected


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('transform', TRANSFORMS)
def test_differentiable_also_after_inference_mode(transform, mode):
    weight = torch.randn(2, 5, 6, dtype=torch.float64, requires_grad=True)
    with torch.inference_mode():
        resize_spectral_weight(weight, (7, 3), transform, mode)
    torch.autograd.gradcheck(lambda w: resize_spectral_weight(w, (7, 3), transform, mode), (weight,))


def test_unknown_choices_are_named():
    with pytest.raises(ValueError, match=r"mode='nearest'.*linear, trig, index"):
        resize_spectral_weight(GAIN, (5, 6), mode='nearest')
    with pytest.raises(ValueError, match=r"transform='dst'.*dct, hartley"):
        resize_spectral_weight(GAIN, (5, 6), transform='dst')
