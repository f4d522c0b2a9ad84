"""What the families share: constructor checks, the feature mode, and timm's verbs.

A family's class names its modules as the official state dict does, so the current official checkpoints load
without renaming. `features_only=True` builds the dense-prediction form: no head, `forward` returns a list of maps.
"""

import contextlib
from collections.abc import Iterator, Sequence

import torch
import torch.fx
from timm.models._features import FeatureInfo
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmvssm.kernels.derivatives import transformed

from ._images import check_image

torch.fx.wrap('check_image')  # it looks at types and sizes: a node of a graph, not traced


def check_choice(field: str, value, allowed: Sequence) -> None:
    """Raise a ValueError that names the field and what is allowed, unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f'{field}={value!r} is not supported; allowed: {", ".join(map(str, allowed))}')


def check_int(field: str, value, allowed: Sequence[int]) -> None:
    """Raise a ValueError that names the field and what is allowed, unless `value` is an int in `allowed`."""
    if type(value) is not int or value not in allowed:
        is_range = isinstance(allowed, range)
        words = f'{allowed[0]} to {allowed[-1]}' if is_range else ', '.join(map(str, allowed))
        raise ValueError(f'{field}={value!r} is not supported; allowed: {words}')


def resolve_indices(out_indices, num_outputs: int, field: str = 'out_indices') -> tuple[int, ...]:
    """Turn None (all), an int n (the last n) or a sequence (negative counts from the end) into indices.

    Raises:
        ValueError: naming the field and the allowed range.
    """
    if out_indices is None:
        return tuple(range(num_outputs))
    if isinstance(out_indices, int):
        if not 0 < out_indices <= num_outputs:
            raise ValueError(f'{field}={out_indices} asks for the last n maps; allowed: 1 to {num_outputs}')
        return tuple(range(num_outputs - out_indices, num_outputs))
    for index in out_indices:
        if not isinstance(index, int) or not -num_outputs <= index < num_outputs:
            raise ValueError(
                f'{field}={tuple(out_indices)} holds {index!r}; allowed: 0 to {num_outputs - 1}, '
                f'or -{num_outputs} to -1 from the end'
            )
    indices = tuple(i % num_outputs for i in out_indices)
    if list(indices) != sorted(set(indices)) or not indices:
        raise ValueError(f'{field}={tuple(out_indices)} must name at least one map, ascending, each once')
    return indices


def is_symbolic(size) -> bool:
    """Whether a size is a symbol of a trace (torch.compile, torch.fx), on which Python cannot branch."""
    return torch.compiler.is_compiling() or isinstance(size, torch.fx.Proxy)


def own_copy(x: Tensor) -> Tensor:
    """`x`, contiguous, in memory that neither the network nor its backward pass looks at: the caller may change it."""
    return x.clone(memory_format=torch.contiguous_format)


def drop_path_rates(rate: float, depth: int) -> list[float]:
    """Drop-path rates of `depth` blocks, linear from 0 to `rate`."""
    if not 0.0 <= rate < 1.0:
        raise ValueError(f'drop_path_rate={rate} must lie in [0, 1)')
    return [rate * i / max(depth - 1, 1) for i in range(depth)]


class BuffersAside:
    """Context in which `block` works on copies of its buffers, as they stood when this was made."""

    def __init__(self, block: nn.Module):
        self.own = [(module, name, b) for module in block.modules() for name, b in module.named_buffers(recurse=False)]
        self.before = [buffer.clone() for _, _, buffer in self.own]

    def __enter__(self) -> None:
        for (module, name, _), buffer in zip(self.own, self.before):
            setattr(module, name, buffer.clone())  # a second backward pass starts from the same values

    def __exit__(self, *exc) -> None:
        for module, name, buffer in self.own:
            setattr(module, name, buffer)


def recompute_later(block: nn.Module, *args):
    """`block(*args)`, computed again in the backward pass; running statistics (BatchNorm's) move once."""
    if torch.compiler.is_compiling():  # no contexts there, and a compiled recomputation changes no buffer
        return checkpoint(block, *args, use_reentrant=False)
    contexts = contextlib.nullcontext(), BuffersAside(block)
    return checkpoint(block, *args, use_reentrant=False, context_fn=lambda: contexts)


class Backbone(nn.Module):
    """Common ground of all families; see :class:`HierarchicalBackbone` for the four-stage ones.

    A subclass sets `feature_table` (one dict of num_chs, reduction, module per possible output) through
    :meth:`_finish`, `num_features`, and implements `forward_features`, `forward_head`,
    `forward_intermediates`, `group_matcher` and `freeze_groups`.

    A feature model holds what its maps need: :meth:`_prune` takes out the stages or blocks after the last map.

    Attributes:
        num_kept: stages or blocks that the model holds, in a classifier all.
        pruned: names and shapes of the parameters and buffers that were taken out, which a file may still have.
        least_size: pixels that an image must have along each side.
        head_prefixes: state-dict prefixes that only the classifier (or a model of more maps) has; a feature model drops
            them on load.
        fresh_prefixes: prefixes that dense prediction adds, absent from ImageNet files.
        first_conv, classifier_name: parameter-path prefixes for timm's default config.
        extra_classifiers: further linear layers whose size is the number of classes.
        frozen_stages: what :meth:`freeze` was last called with.
        key_options: prefix of state-dict names -> the options of a model that has them, for the message of a refusal.
    """

    head_prefixes: tuple[str, ...] = ()
    fresh_prefixes: tuple[str, ...] = ()
    first_conv: str = ''
    classifier_name: str = ''
    extra_classifiers: tuple[str, ...] = ()
    frozen_stages: int = -1
    _frozen: tuple[str, ...] = ()  # parameters that `freeze` turned off
    key_options: dict[str, str] = {}

    def __init__(self, *, num_classes: int, in_chans: int, features_only: bool, out_norms: bool):
        super().__init__()
        if num_classes < 0:
            raise ValueError(f'num_classes={num_classes} must be 0 (no classifier) or more')
        if in_chans < 1:
            raise ValueError(f'in_chans={in_chans} must be at least 1')
        if out_norms and not features_only:
            raise ValueError('out_norms=True needs features_only=True; a classifier has no out-norms')
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.features_only = features_only
        self.out_norms = out_norms
        self.grad_checkpointing = False
        self.least_size = 1
        self.pruned: dict[str, torch.Size] = {}
        if features_only:
            self.output_fmt = 'NCHW'

    def _finish(self, feature_table: list[dict], out_indices) -> None:
        """Set `out_indices` and `feature_info`, as timm's users read them."""
        self.out_indices = resolve_indices(out_indices, len(feature_table))
        self.num_kept = len(feature_table)
        self.num_features = self.head_hidden_size = feature_table[-1]['num_chs']
        self.feature_info = FeatureInfo(feature_table, self.out_indices) if self.features_only else feature_table

    def _prune(self) -> None:
        """At the end of a constructor: take out what the maps of a feature model do not need."""
        self._keep(self.out_indices[-1] + 1 if self.features_only else self.num_kept)

    def _keep(self, num: int) -> None:
        """Hold the first `num` stages or blocks."""
        if num < self.num_kept:
            whole = {name: value.shape for name, value in self.state_dict().items()}
            self._cut(num)
            own = self.state_dict()
            self.pruned.update((name, shape) for name, shape in whole.items() if name not in own)
            self.num_kept = num
            table = self.feature_info.info if self.features_only else self.feature_info
            self.num_features = self.head_hidden_size = table[num - 1]['num_chs']
        self.least_size = self._least_size()

    def _cut(self, num: int) -> None:
        """Take out the modules of all stages or blocks but the first `num`, and what only the last of all needs."""
        raise NotImplementedError

    def _least_size(self) -> int:
        return 1

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """As in timm: hold what the maps `indices` of :meth:`forward_intermediates` need; returns them, ascending.

        Args:
            indices: stages or blocks, see :meth:`forward_intermediates`.
            prune_norm: without the norm before the head; a hierarchical model loses it with its last stage in any case.
            prune_head: without the classifier.
        """
        take = resolve_indices(tuple(indices) if isinstance(indices, list) else indices, self.num_kept, 'indices')
        if prune_head and not self.features_only:
            self.reset_classifier(0, '')
        self._keep(take[-1] + 1)
        if prune_norm and not self.features_only:
            self._drop_final_norm()
        return list(take)

    def _image(self, x: Tensor) -> Tensor:
        return check_image(x, self.in_chans, self.least_size)

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of each returned map."""
        table = self.feature_info.info if self.features_only else self.feature_info
        return tuple(table[i]['num_chs'] for i in self.out_indices)

    def _like_the_stem(self, module: nn.Module) -> nn.Module:
        """A fresh classifier on the device and in the precision of the first layer, whatever norms are kept in."""
        first = next(self.parameters())
        return module.to(first.device, first.dtype)

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass instead of storing its activations."""
        self.grad_checkpointing = enable

    def _run(self, block: nn.Module, *args):
        # torch.func has no way to compute again
        if self.grad_checkpointing and self.training and torch.is_grad_enabled() and not transformed():
            return recompute_later(block, *args)
        return block(*args)

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Parameters that no published recipe means to decay: state matrices, skips, dt biases."""
        leaves = ('A_logs', 'A_log', 'A_b_log', 'Ds', 'D', 'D_b', 'dt_projs_bias')
        return {n for n, _ in self.named_parameters() if n.rsplit('.', 1)[-1].startswith(leaves)}

    def __prepare_scriptable__(self):
        raise NotImplementedError(
            'torch.jit.script cannot compile these models, whose scan orders follow from the image size in Python; '
            'torch.jit.trace, torch.export, torch.compile and torch.fx can take them'
        )

    def freeze_groups(self) -> Iterator[list[nn.Module | nn.Parameter]]:
        """Stem first, then one group for every stage (or block of a plain model), empty where it was pruned."""
        raise NotImplementedError

    def freeze(self, num_stages: int) -> None:
        """Stop gradients of the stem (`num_stages=0`) and of the first `num_stages` stages, and of nothing else.

        Frozen modules stay in evaluation mode (dropout, drop path, BatchNorm statistics), whatever `train()` says. What
        an earlier call froze and this one does not gets its gradients back; -1 freezes nothing.

        Raises:
            ValueError: `num_stages` is no int, or exceeds the number of stages.
        """
        groups = list(self.freeze_groups())
        if type(num_stages) is not int or not -1 <= num_stages < len(groups):
            raise ValueError(f'frozen_stages={num_stages!r} is out of range; allowed: -1 to {len(groups) - 1}')
        parameters = dict(self.named_parameters())
        for name in self._frozen:
            if name in parameters:
                parameters[name].requires_grad_(True)
        thaws, self.frozen_stages = num_stages < self.frozen_stages, num_stages
        trainable = [name for name, p in parameters.items() if p.requires_grad]
        for item in self._frozen_items():
            item.requires_grad_(False)
            if isinstance(item, nn.Module):
                item.eval()
        self._frozen = tuple(name for name in trainable if not parameters[name].requires_grad)
        if thaws:
            self.train(self.training)

    def _frozen_items(self) -> list[nn.Module | nn.Parameter]:
        return [item for group in list(self.freeze_groups())[: self.frozen_stages + 1] for item in group]

    def train(self, mode: bool = True):
        """As usual, but frozen modules stay in evaluation mode."""
        super().train(mode)
        for item in self._frozen_items() if mode else ():
            if isinstance(item, nn.Module):
                item.eval()
        return self

    def forward(self, x: Tensor):
        """(B, in_chans, H, W) -> logits (B, num_classes), or the list of NCHW maps of a feature model."""
        if self.features_only:
            return self.forward_intermediates(
                x,
                indices=list(self.out_indices),
                norm=self.out_norms,
                stop_early=True,
                intermediates_only=True,
            )
        return self.forward_head(self.forward_features(x))
