"""Write docs/model_zoo.md: every variant, measured here, with its published results, links and honest state."""

import argparse
import sys
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

import mmvssm
from mmvssm.flops import FlopTerms
from mmvssm.weights import zoo

PAGE = Path(__file__).parents[1] / 'docs' / 'model_zoo.md'


def measure(name: str) -> zoo.Measured:
    """A variant's parameters and multiply-adds."""
    with torch.device('meta'):
        model = mmvssm.create_model(name)
    terms = mmvssm.flop_terms(model)
    return zoo.Measured(
        params=sum(p.numel() for p in model.parameters()) / 1e6,
        terms={operator: count / 1e9 for operator, count in terms.by_operator().items()},
        as_run=mmvssm.count_flops(model, mlstm='as_run') / 1e9 if 'mlstm' in terms.by_operator() else 0.0,
        left_out={term: count / 1e9 for term, count in left_out(model, terms).items()},
    )


def left_out(model: nn.Module, terms: FlopTerms) -> dict[str, int]:
    """What LocalVim's authors leave out of their count, of a model whose directions have projections of their own."""
    scan, others = 0, 0
    for path, mixer in model.named_modules():
        if hasattr(mixer, 'branch_names'):
            d, states, rank = mixer.out_proj.in_features, mixer.d_state, mixer.dt_rank
            tokens = terms.counts[f'{path}.out_proj', 'linear'] // mixer.out_proj.weight.numel()
            taps = mixer.each('conv')[0].kernel_size[0]
            others += (len(mixer.branch_names) - 1) * tokens * d * (taps + 2 * rank + 2 * states)
            scan += len(mixer.branch_names) * tokens * d * (4 * states - 1)
    operators = terms.by_operator()
    return {'scan': scan, 'other directions': others, 'norms': operators['norm']} if scan else {}


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
