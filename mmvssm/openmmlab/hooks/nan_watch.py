"""Where a loss that is not finite comes from."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from torch import Tensor, nn

from mmvssm.settings import OneOf, checked


@HOOKS.register_module()
class NaNWatchHook(Hook):
    """Names the first layer with a NaN or an Inf, in the iteration whose loss has one, before it reaches the weights.

    Costs one look at the losses an iteration. Only when one of them is not finite is the forward pass run once more on
    the same batch, with the same random numbers, looking at the output of every layer.

    Args:
        action: 'raise' a FloatingPointError, or 'warn' in the log and go on (fp16 loss scaling skips such updates).
    """

    priority = 'VERY_HIGH'

    @checked(action=OneOf('raise', 'warn'))
    def __init__(self, action: str = 'raise'):
        self.action = action

    def before_train(self, runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._runner = runner
        self._handles = [
            model.register_forward_pre_hook(self._note_random_state),
            model.register_forward_hook(self._look_at_losses, with_kwargs=True),
        ]

    def after_train(self, runner) -> None:
        for handle in self._handles:
            handle.remove()

    def _note_random_state(self, model: nn.Module, args: tuple) -> None:
        self._random_state = _random_state()

    def _look_at_losses(self, model: nn.Module, args: tuple, kwargs: dict, losses) -> None:
        if kwargs.get('mode') != 'loss' or not isinstance(losses, dict):
            return
        looked_at = [torch.isfinite(tensor).all() for _, tensor in _tensors(losses)]
        if not looked_at:
            return
        finite = torch.stack(looked_at).all().int()
        all_reduce(finite, 'min')  # all processes look for the layer together: some layers communicate
        if finite:
            return
        message = f'iteration {self._runner.iter + 1}: {self._describe(losses)}; {self._diagnose(model, args, kwargs)}'
        if self.action == 'raise':
            raise FloatingPointError(message)
        self._runner.logger.warning(message)

    def _describe(self, losses: dict) -> str:
        bad = [name for name, tensor in _tensors(losses) if not torch.isfinite(tensor).all()]
        return f'{", ".join(bad)} is not finite' if bad else 'a loss is not finite in another process'

    def _diagnose(self, model: nn.Module, args: tuple, kwargs: dict) -> str:
        for name, parameter in model.named_parameters():
            if not torch.isfinite(parameter).all():
                return f'parameter {name} was not finite before this iteration, so the update before it broke it'
        with _random_state_restored(self._random_state), torch.no_grad():
            return _first_bad_layer(model, args, kwargs)


class _Found(Exception):
    pass


def _first_bad_layer(model: nn.Module, args: tuple, kwargs: dict) -> str:
    """Run the model until a layer returns something that is not finite."""
    last = 'the input of the model'

    def look(name: str, layer: nn.Module, inputs: tuple, output) -> None:
        nonlocal last
        bad = [tensor for _, tensor in _tensors(output) if not torch.isfinite(tensor).all()]
        if bad:
            where = f'the first layer whose output is not is {name} ({type(layer).__name__}): {_count(bad[0])}'
            clean = all(torch.isfinite(tensor).all() for _, tensor in _tensors(inputs))
            raise _Found(where if clean else f'{where}, and so was its input, after {last}')
        last = name

    handles = [
        layer.register_forward_hook(lambda layer, inputs, output, name=name: look(name, layer, inputs, output))
        for name, layer in model.named_modules()
        if name
    ]
    try:
        model.forward(*args, **kwargs)  # not the call, which would come here again
    except _Found as found:
        return str(found)
    finally:
        for handle in handles:
            handle.remove()
    return 'every layer gives finite outputs, so the loss itself does not'


def _count(tensor: Tensor) -> str:
    nans, infs = int(tensor.isnan().sum()), int(tensor.isinf().sum())
    return f'{nans} NaN and {infs} Inf of {tensor.numel()} values in {str(tensor.dtype).removeprefix("torch.")}'


def _tensors(value, name: str = '') -> Iterator[tuple[str, Tensor]]:
    """The floating-point tensors in nested dicts, lists and tuples, with the dotted path to each."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield name, value.detach()
    elif isinstance(value, dict | list | tuple):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _tensors(item, f'{name}.{key}' if name else str(key))


def _random_state() -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None


@contextmanager
def _random_state_restored(state: tuple[Tensor, Tensor | None]) -> Iterator[None]:
    now = _random_state()
    _set_random_state(state)
    try:
        yield
    finally:
        _set_random_state(now)


def _set_random_state(state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])
