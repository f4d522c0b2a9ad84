"""The search for scan directions, in plain PyTorch; `mmvssm.openmmlab.searching` runs it.

`choices` says what each layer of a supernet would keep, `models` how a model's arguments become the supernet's.
"""

from .choices import KEY, LayerChoice, choices_in, choices_of, choose, found, order_name
from .models import Search, make_supernet, searchable

__all__ = [
    'KEY',
    'LayerChoice',
    'Search',
    'choices_in',
    'choices_of',
    'choose',
    'found',
    'make_supernet',
    'order_name',
    'searchable',
]
