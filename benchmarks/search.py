"""Does a search for scan directions find what is known to be best, and does it pay?

python -m benchmarks.search [--orders v w2 w7 h_flip] [--seeds 10] [--iterations 160]
"""

import argparse
import random
import time
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvssm import create_model, scans, search
from mmvssm.demo import planted

ORDERS = ('v', 'w2', 'w7', 'h_flip')
UNSEARCHED = {  # a list as the published unsearched models have one, without the planted order
    'v': ['h', 'h_flip', 'w2', 'w2_flip'],
    'w2': ['h', 'h_flip', 'v', 'v_flip'],
    'w7': ['h', 'h_flip', 'v', 'v_flip'],
    'h_flip': ['h', 'v', 'w2', 'w7'],
}
WIDTH, LR = 32, 2e-2
NUMBERS = dict(depths=(1,), dims=(WIDTH,), patch_size=1, d_state=4, drop_path_rate=0.0, out_indices=(0,))


class Tokens(nn.Module):
    """A LocalVMamba of one layer, and a logit for every token."""

    def __init__(self, directions: list[list[str]] | None):
        super().__init__()
        self.backbone = create_model('test_localvmamba', directions=directions, features_only=True, **NUMBERS)
        self.head = nn.Conv2d(WIDTH, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, side, side) -> (N, side, side)."""
        return self.head(self.backbone(images)[0])[:, 0]


def loss_of(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy where there is a target."""
    known = ~targets.isnan()
    return F.binary_cross_entropy_with_logits(model(images)[known], targets[known])


def train(order: str, directions: list[list[str]] | None, seed: int, iterations: int, batch: int = 8) -> Tokens:
    """A model trained on fresh images; logits learn five times as fast as weights."""
    torch.manual_seed(seed)
    model = Tokens(directions)
    logits = [p for name, p in model.named_parameters() if name.endswith(search.KEY)]
    others = [p for name, p in model.named_parameters() if not name.endswith(search.KEY)]
    groups = [dict(params=others, lr=LR), *([dict(params=logits, lr=5 * LR, weight_decay=0.0)] if logits else [])]
    optimizer = torch.optim.AdamW(groups)
    rates = [group['lr'] for group in groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=iterations, pct_start=0.2)
    for i in range(iterations):
        optimizer.zero_grad()
        loss_of(model, *planted.sample(order, batch, seed=1_000_000 * (seed + 1) + i)).backward()
        optimizer.step()
        schedule.step()
    return model


@torch.no_grad()
def accuracy(model: Tokens, order: str) -> float:
    """On held-out images."""
    images, targets = planted.sample(order, 64, seed=7)
    known = ~targets.isnan()
    return ((model(images)[known] > 0) == targets[known].bool()).double().mean().item()


def found(order: str, seed: int, iterations: int) -> search.LayerChoice:
    """What a search on a planted problem finds."""
    return search.choices_of(train(order, None, seed, iterations))[0]


def first(layer: search.LayerChoice) -> str:
    """The most probable candidate."""
    return layer.candidates[layer.probabilities.index(max(layer.probabilities))]


def rows(order: str, seed: int, iterations: int, k: int) -> Iterator[tuple[str, list[str], float, float]]:
    """(name, directions, held-out accuracy, seconds) of each way to come by directions, at equal training."""
    start = time.perf_counter()
    layer = found(order, seed, iterations)
    cost = time.perf_counter() - start
    lists = {
        f'searched ({first(layer)} first)': list(search.choose(layer, k)),
        'unsearched': UNSEARCHED[order][:k],
        'random': sorted(random.Random(seed).sample(scans.LOCAL_SCAN, k), key=scans.LOCAL_SCAN.index),
    }
    for name, own in lists.items():
        start = time.perf_counter()
        model = train(order, [own], seed, iterations)
        seconds = time.perf_counter() - start
        yield name, own, accuracy(model, order), seconds + (cost if name.startswith('searched') else 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--orders', nargs='+', default=ORDERS, choices=ORDERS)
    parser.add_argument('--seeds', type=int, default=10)
    parser.add_argument('--iterations', type=int, default=160)
    parser.add_argument('--k', type=int, default=4)
    args = parser.parse_args()
    for order in args.orders:
        for seed in range(args.seeds):
            for name, own, score, seconds in rows(order, seed, args.iterations, args.k):
                print(f'{order:7} seed {seed}  {name:28} {" ".join(own):28} {score:.3f}  {seconds:.1f} s', flush=True)


if __name__ == '__main__':
    main()
