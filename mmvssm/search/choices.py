"""What the layers of a supernet would keep: read from a model or from any checkpoint of one.

LocalMamba (arXiv 2403.09338): softmax of a layer's logits, the k largest, in the order of the candidates.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmvssm import scans
from mmvssm.backbones import Choice
from mmvssm.directions import Directions, LayerDirections
from mmvssm.errors import UsageError

KEY = 'multi_scan.weights'  # how the names of all logits end, in the authors' files too


@dataclass(frozen=True)
class LayerChoice:
    """A layer's probabilities.

    Attributes:
        name: of the layer's logits in the model.
        candidates: names of the orders.
        probabilities: of each.
    """

    name: str
    candidates: tuple[str, ...]
    probabilities: tuple[float, ...]

    @property
    def entropy(self) -> float:
        """Of the probabilities: 1 where all are alike, 0 where one has all."""
        nats = -sum(p * math.log(p) for p in self.probabilities if p > 0)
        return nats / math.log(len(self.candidates)) if len(self.candidates) > 1 else 0.0


def order_name(order: scans.Order) -> str:
    """The name of an order; of a function the dotted one, by which it can be imported."""
    if isinstance(order, str):
        return order
    return f'{getattr(order, "__module__", "?")}.{getattr(order, "__qualname__", type(order).__name__)}'


def choices_of(model: nn.Module) -> list[LayerChoice]:
    """Of a model's layers that choose, in its order; empty where none does."""
    return [
        LayerChoice(
            f'{name}.weights', tuple(map(order_name, module.candidates)), tuple(module.probabilities().tolist())
        )
        for name, module in model.named_modules()
        if isinstance(module, Choice)
    ]


def choices_in(
    state: Mapping[str, Any], candidates: Sequence[str] | None = None, temperature: float = 1.0
) -> list[LayerChoice]:
    """Of a state dict's layers that choose, the authors' included.

    Args:
        state: name -> tensor; prefixes such as `module.` or `backbone.` do not matter.
        candidates: their names; None for the published eight.
        temperature: that the softmax was trained with.

    Raises:
        UsageError: it has no logits, or another number of candidates.
    """
    names = sorted((name for name in state if name.endswith(KEY) and isinstance(state[name], Tensor)), key=_in_order)
    if not names:
        raise UsageError(f'no layer of it searches: it has no parameter whose name ends with {KEY}')
    own = tuple(candidates or scans.LOCAL_SCAN)
    found = []
    for name in names:
        logits = state[name].detach().double().flatten()
        if len(logits) != len(own):
            raise UsageError(
                f'{name} has {len(logits)} logits, there are {len(own)} candidates ({", ".join(own)}); '
                'name those of the search with --candidates'
            )
        found.append(LayerChoice(name, own, tuple((logits / temperature).softmax(0).tolist())))
    return found


def _in_order(name: str) -> list[tuple[bool, int, str]]:
    """layers.2 comes before layers.10, whatever order a file has."""
    return [(word.isdecimal(), int(word) if word.isdecimal() else 0, word) for word in re.split(r'(\d+)', name)]


def choose(layer: LayerChoice, k: int, forced: Iterable[str] = ()) -> tuple[str, ...]:
    """The k candidates to keep: those that are forced, then the most probable; in the order of the candidates.

    Raises:
        UsageError: there are fewer candidates, or a forced one is none of them.
    """
    forced = list(dict.fromkeys(forced))
    for name in forced:
        if name not in layer.candidates:
            raise UsageError(f'--force {name}: no candidate; allowed: {", ".join(layer.candidates)}')
    if not max(1, len(forced)) <= k <= len(layer.candidates):
        least = f' ({len(forced)} are forced)' if forced else ''
        raise UsageError(f'--k {k}: allowed: {max(1, len(forced))} to {len(layer.candidates)}{least}')
    by_weight = sorted(range(len(layer.candidates)), key=lambda i: -layer.probabilities[i])
    kept = [layer.candidates.index(name) for name in forced]
    kept += [i for i in by_weight if i not in kept][: k - len(kept)]
    return tuple(layer.candidates[i] for i in sorted(kept))


def found(
    layers: Sequence[LayerChoice],
    k: int,
    forced: Iterable[str] = (),
    *,
    model: str | None = None,
    data: str | None = None,
    iteration: int | None = None,
    base: str | None = None,
    checkpoint: str | None = None,
) -> Directions:
    """What a search leaves: the content of its file.

    Args:
        layers: what they could choose from.
        k: how many orders each keeps.
        forced: orders that each keeps.
        model: its variant; like all that follows, written down beside the versions where it is known.
        data: what was trained on.
        iteration: after which.
        base: the config that was searched.
        checkpoint: the file that was read.
    """
    from mmvssm import __version__

    kept = [LayerDirections(layer.candidates, layer.probabilities, choose(layer, k, forced)) for layer in layers]
    versions = dict(mmvssm=__version__, torch=str(torch.__version__))
    known = dict(model=model, data=data, iteration=iteration, base=base, checkpoint=checkpoint)
    about = {key: value for key, value in known.items() if value is not None}
    return Directions(tuple(kept), dict(**about, k=k, forced=list(forced), versions=versions))
