"""Write docs/model_zoo.md: every variant, measured here, with its published results, links and honest state."""

import argparse
import sys
from pathlib import Path

import torch
from tqdm import tqdm

import mmvssm
from mmvssm.weights import zoo

PAGE = Path(__file__).parents[1] / 'docs' / 'model_zoo.md'


def measure(name: str) -> tuple[float, float]:
    """Parameters in millions and multiply-adds in billions of a variant."""
    with torch.device('meta'):
        model = mmvssm.create_model(name)
    return sum(p.numel() for p in model.parameters()) / 1e6, mmvssm.count_flops(model) / 1e9


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--check', action='store_true', help='write nothing; say whether the page is up to date')
    args = parser.parse_args(argv)
    names = [name for name in mmvssm.list_models() if not name.startswith('test_')]
    text = zoo.page({name: measure(name) for name in tqdm(names, disable=None)})
    if args.check:
        fresh = PAGE.exists() and PAGE.read_text(encoding='utf-8') == text
        print(f'{PAGE} is {"up to date" if fresh else "out of date: run python tools/model_zoo.py"}')
        return 0 if fresh else 1
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text, encoding='utf-8')
    print(PAGE)
    return 0


if __name__ == '__main__':
    sys.exit(main())
