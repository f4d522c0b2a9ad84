"""A run that searches scan directions: anneals, alternates, reports what the layers would keep, stops in time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop

from mmvssm import search
from mmvssm.backbones import Choice
from mmvssm.errors import UsageError
from mmvssm.openmmlab import searching
from mmvssm.openmmlab.loading import unwrapped
from mmvssm.settings import Anything, Each, Flag, Int, Number, OrNone, Text, checked

STATE = searching.STATE
UNDECIDED = 0.9995  # entropy that is told as 1.000


@HOOKS.register_module()
class DirectionSearchHook(Hook):
    """Watches a supernet's choices of scan directions, and writes them at the end.

    At every validation, or at the end of every epoch where there is none, the log has each layer's choice and entropy
    (1: undecided, 0: decided), and the scalars have every probability. In the end the work folder has
    `directions.json`, `searched.py` and two pictures.

    Args:
        k: how many orders a layer keeps.
        forced: orders that every layer keeps, None for no such.
        temperature: of the softmax at the start and at the end of the run; falls geometrically between.
        alternating: train the logits in every other iteration and the weights in those between (DARTS, first order,
            arXiv 1806.09055), on halves of the data that `AlternatingSampler` keeps apart.
        patience: stop once the choices have not changed for so many reports; None for never.
        base: the config whose model was made a supernet; None writes no `searched.py`.
        data: the data set, to be written down.
        given: settings of the model that were given beside `base`, by dotted names, for `searched.py`.
    """

    priority = 'LOWEST'

    @checked(
        k=Int(1),
        forced=OrNone(Each(Text())),
        temperature=Each(Number(0, above=True), 2),
        alternating=Flag(),
        patience=OrNone(Int(1)),
        base=OrNone(Text()),
        data=OrNone(Text()),
        given=OrNone(Anything()),
    )
    def __init__(
        self,
        k: int = 4,
        forced: Sequence[str] | None = None,
        temperature: tuple[float, float] = (1.0, 1.0),
        alternating: bool = False,
        patience: int | None = None,
        base: str | None = None,
        data: str | None = None,
        given: dict[str, Any] | None = None,
    ):
        self.k, self.forced, self.temperature = k, tuple(forced or ()), tuple(temperature)
        self.alternating, self.patience, self.base, self.data = alternating, patience, base, data
        self.given = dict(given or {})
        self._last: list[list[str]] = []
        self._unchanged = 0

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        about = dict(self._about(runner), k=self.k, forced=list(self.forced), temperature=self._temperature(runner))
        checkpoint[STATE] = dict(
            last=self._last, unchanged=self._unchanged, candidates=candidates_of(runner.model), **about
        )

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        state = checkpoint.pop(STATE, None)
        if state is not None and getattr(runner, '_resume', False):
            self._last, self._unchanged = state['last'], state['unchanged']

    def before_train(self, runner) -> None:
        self._layers = [module for module in runner.model.modules() if isinstance(module, Choice)]
        if any(len(layer.weights) != len(layer.candidates) for layer in self._layers):
            raise UsageError(
                'a search does not go with sharded parameters (FSDP): no process has all logits of a layer'
            )
        if self.alternating:
            optimizer = runner.optim_wrapper.optimizer
            logits = {id(layer.weights) for layer in self._layers}
            optimizer.register_step_pre_hook(lambda own, *_: _keep_still(own, logits, _trains_logits(runner)))

    def before_train_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        for layer in self._layers:
            layer.temperature = self._temperature(runner)

    def _temperature(self, runner) -> float:
        start, end = self.temperature
        return start * (end / start) ** min(runner.iter / max(runner.max_iters - 1, 1), 1.0)

    def _about(self, runner) -> dict[str, Any]:
        return dict(model=_model_name(runner), data=self.data, iteration=runner.iter, base=self.base)

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        self._report(runner)

    def after_train_epoch(self, runner) -> None:
        if runner.val_loop is None and isinstance(runner.train_loop, EpochBasedTrainLoop):
            self._report(runner)

    def after_train(self, runner) -> None:
        if not is_main_process():
            return
        layers = search.choices_of(runner.model)
        found = search.found(layers, self.k, self.forced, **self._about(runner))
        if all(layer.entropy > UNDECIDED for layer in layers):
            runner.logger.warning('all layers are undecided (entropy 1.000): train longer, or raise --logit-lr')
        for line in searching.write(found, runner.work_dir, self.base, self.given):
            runner.logger.info(line)

    def _report(self, runner) -> None:
        layers = search.choices_of(runner.model)
        chosen = [list(search.choose(layer, self.k, self.forced)) for layer in layers]
        self._unchanged = self._unchanged + 1 if chosen == self._last else 0
        self._last = chosen
        runner.logger.info('\n'.join(searching.table(layers, chosen)))
        scalars = {
            f'search/layer_{i}/{name}': p
            for i, layer in enumerate(layers)
            for name, p in zip(layer.candidates, layer.probabilities)
        }
        entropy = sum(layer.entropy for layer in layers) / max(len(layers), 1)
        runner.visualizer.add_scalars({'search/entropy': entropy, **scalars}, step=runner.iter)
        if self.patience is not None and self._unchanged >= self.patience:
            runner.train_loop.stop_training = True
            runner.logger.info(f'the choice has not changed for {self._unchanged} reports: the search ends here')


@HOOKS.register_module()
class SameCandidatesHook(Hook):
    """Before anything else of a checkpoint is looked at: a search goes on with the candidates that it had.

    Raises (when a checkpoint is resumed):
        UsageError: they are others.
    """

    priority = 'HIGHEST'

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        had = (checkpoint.get(STATE) or {}).get('candidates')
        own = candidates_of(runner.model)
        if getattr(runner, '_resume', False) and had is not None and list(had) != own:
            raise UsageError(
                f'--candidates {" ".join(own)}: the search that is resumed has others\n'
                f'give --candidates {" ".join(had)}, or start in another --work-dir'
            )


def candidates_of(model) -> list[str]:
    """Names of the orders that the layers of a supernet choose from."""
    layer = next((module for module in model.modules() if isinstance(module, Choice)), None)
    return [] if layer is None else [search.order_name(order) for order in layer.candidates]


def _model_name(runner) -> str:
    model = unwrapped(runner.model)
    backbone = getattr(model, 'backbone', model)
    return getattr(backbone, 'variant', '') or type(backbone).__name__


def _trains_logits(runner) -> bool:
    """Whether this iteration's update is the logits': every other one, gathered gradients counted as one."""
    gathered = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
    return runner.iter // gathered % 2 == 1


def _keep_still(optimizer: torch.optim.Optimizer, logits: set[int], train_logits: bool) -> None:
    """Take the gradients of what is not trained now: an optimizer leaves parameters without one as they are."""
    for group in optimizer.param_groups:
        for parameter in group['params']:
            if (id(parameter) in logits) != train_logits:
                parameter.grad = None
