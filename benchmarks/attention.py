"""Multi-scale deformable attention: the stand-in for mmcv's compiled operator beside mmcv's own form in plain PyTorch.

    python -m benchmarks.attention [--size 512] [--batch 2] [--device cuda]

The encoder's layer of DINO and Deformable DETR: four levels of strides 8 to 64, 8 heads of 32 channels, 4 points, a
query for each token. Both take the same tensors, by turns; what is printed is a ratio, and the memory that is kept for
the backward pass.
"""

import argparse
import importlib

import torch

from benchmarks.measure import timed
from mmvssm.openmmlab import ops

HEADS, CHANNELS, POINTS, STRIDES = 8, 32, 4, (8, 16, 32, 64)
TURNS = 3


def tensors(size: int, batch: int, device: str) -> tuple:
    """(levels (4, 2), starts (4,), [value, locations, weights]) for square images."""
    levels = torch.tensor([[-(-size // stride)] * 2 for stride in STRIDES], device=device)
    tokens = levels.prod(1)
    number = int(tokens.sum())
    shape = (batch, number, HEADS, len(STRIDES), POINTS)
    weights = torch.rand(shape, device=device).flatten(3).softmax(-1).view(shape)
    made = [torch.randn(batch, number, HEADS, CHANNELS, device=device), torch.rand(*shape, 2, device=device), weights]
    return levels, tokens.cumsum(0) - tokens, [one.requires_grad_() for one in made]


def kept(run) -> int:
    """Bytes that a forward keeps for backward, each tensor once."""
    sizes: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(sizes.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--size', type=int, default=512, help='side of the images')
    parser.add_argument('--batch', type=int, default=2)
    parser.add_argument('--device', default='cpu')
    args = parser.parse_args()
    if not ops.install():
        raise SystemExit('a compiled mmcv is installed: nothing stands in for it')
    module = importlib.import_module('mmcv.ops.multi_scale_deform_attn')
    levels, starts, inputs = tensors(args.size, args.batch, args.device)
    runs = {
        'stand-in': lambda: module.MultiScaleDeformableAttnFunction.apply(inputs[0], levels, starts, *inputs[1:], 64),
        'mmcv in PyTorch': lambda: module.multi_scale_deformable_attn_pytorch(inputs[0], levels, *inputs[1:]),
    }
    torch.testing.assert_close(runs['stand-in'](), runs['mmcv in PyTorch'](), rtol=1e-4, atol=1e-4)
    both = {name: lambda run=run: torch.autograd.grad(run().sum(), inputs) for name, run in runs.items()}
    for what, table in (('forward', runs), ('forward + backward', both)):
        turns = [[timed(run, args.device) for run in table.values()] for _ in range(TURNS)]
        ours, theirs = map(min, zip(*turns))
        print(f'{what}: stand-in / mmcv in PyTorch = {ours / theirs:.2f}')
    print('kept for backward, MiB:', {name: round(kept(run) / 2**20) for name, run in runs.items()})


if __name__ == '__main__':
    main()
