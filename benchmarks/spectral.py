"""Time the spectral filter by matrix products and by FFT on this machine, both checked against float64 first.

python -m benchmarks.spectral [--device cuda] [--threads 1]
"""

import argparse
from unittest.mock import patch

import torch

from benchmarks.measure import timed
from mmvssm.kernels import resize_spectral_weight, spectral_filter
from mmvssm.kernels.spectral import blocked
from mmvssm.testing import relative_rms

SHAPES = [  # (batch, height, width, channels, native size): stages 1 and 2 of Heracles-S, and larger and prime maps
    (8, 56, 56, 32, 56),
    (8, 28, 28, 64, 28),
    (1, 128, 128, 32, 56),
    (1, 200, 334, 32, 56),
    (1, 100, 167, 64, 28),
    (1, 197, 331, 32, 56),
    (1, 256, 256, 32, 56),
    (1, 384, 384, 32, 56),
    (1, 512, 512, 32, 56),
]


def measure(shape, transform: str, device: str) -> list[float]:
    """Milliseconds of (matmul, FFT) x (forward, forward and backward), and of resizing the weights."""
    batch, height, width, channels, native = shape
    x = torch.randn(batch, height, width, channels, device=device, requires_grad=True)
    weight = torch.randn(channels, height, width, device=device, requires_grad=True)
    exact = spectral_filter(x.double(), weight.double(), transform=transform, backend='reference')

    def run(backward: bool) -> torch.Tensor:
        y = spectral_filter(x, weight, transform=transform)
        if backward:
            torch.autograd.grad(y, (x, weight), y)
        return y

    out = []
    for limit in (10**6, 0):
        with patch.dict(blocked.MATMUL_LIMIT, {transform: limit}):
            error = relative_rms(run(False), exact)
            if not error < 1e-6:
                raise SystemExit(f'{transform} {shape}: error {error:.1e}, no time is printed')
            out += [timed(lambda: run(False), device), timed(lambda: run(True), device)]
    small = torch.randn(channels, native, native, device=device)
    return [*out, timed(lambda: resize_spectral_weight(small, (height, width, device), transform))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print('transform  B x H x W x C      matmul fwd  f+b | FFT fwd    f+b | resize   (ms)')
    for transform in ('dct', 'hartley'):
        for shape in SHAPES:
            label = 'x'.join(map(str, shape[:4]))
            a, b, c, d, e = measure(shape, transform, args.device)
            print(f'{transform:9}  {label:16} {a:10.2f} {b:7.2f} |{c:8.2f} {d:6.2f} | {e:6.2f}', flush=True)


if __name__ == '__main__':
    main()
