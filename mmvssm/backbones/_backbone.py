"""What the families share: constructor checks, the feature mode, and timm's verbs.

A family's class names its modules as the official state dict does, so the current official checkpoints load
without renaming. `features_only=True` builds the dense-prediction form: no head, `forward` returns a list of maps.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
import torch.fx
from timm.models._features import FeatureInfo
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmvssm.kernels.derivatives import transformed
from mmvssm.settings import Setting, bound, check_choice, check_int, refuse, short
from mmvssm.tracing import is_compiling

from ._images import check_image
from ._search import Searched
from ._settings import settings_of

torch.fx.wrap('check_image')  # it looks at types and sizes: a node of a graph, not traced


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
                f'{field}={short(tuple(out_indices))} holds {index!r}; allowed: 0 to {num_outputs - 1}, '
                f'or -{num_outputs} to -1 from the end'
            )
    indices = tuple(i % num_outputs for i in out_indices)
    if list(indices) != sorted(set(indices)) or not indices:
        refuse(field, tuple(out_indices), 'at least one map, ascending, each once')
    return indices


def own_copy(x: Tensor) -> Tensor:
    """`x`, contiguous, in memory that neither the network nor its backward pass looks at: the caller may change it."""
    return x.clone(memory_format=torch.contiguous_format)


def drop_path_rates(rate: float, depth: int) -> list[float]:
    """Drop-path rates of `depth` blocks, linear from 0 to `rate`."""
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
    if is_compiling():  # no contexts there, and a compiled recomputation changes no buffer
        return checkpoint(block, *args, use_reentrant=False)
    contexts = contextlib.nullcontext(), BuffersAside(block)
    return checkpoint(block, *args, use_reentrant=False, context_fn=lambda: contexts)


def checking(cls: type['Backbone']) -> Callable[..., None]:
    """The constructor of a class with a check of its arguments before it.

    It stands in every class that has a constructor, so that it sees too what a subclass passes on.
    """
    init, signature = cls.__init__, cls.__signature__

    @functools.wraps(init)
    def checked(self: Backbone, *args: Any, **kwargs: Any) -> None:
        given = bound(cls.__name__, signature, args, kwargs, self.settings_in_full)
        if 'relate' in vars(cls):
            cls.relate(all_fields(cls, given.arguments))
        init(self, *given.args, **given.kwargs)

    return checked


def all_fields(cls: type['Backbone'], given: Mapping[str, Any]) -> SimpleNamespace:
    """What is given, and the defaults."""
    parameters = cls.__signature__.parameters.values()
    return SimpleNamespace(**{**{p.name: p.default for p in parameters if p.default is not p.empty}, **given})


class Backbone(nn.Module):
    """Common ground of all families; see :class:`HierarchicalBackbone` for the four-stage ones.

    A network is a way in, a number of stages (or blocks, of a model of one stride) and a way out. A kind of network
    (`_stages`, `_single_stride`) implements

        enter(x) -> state                 of an image
        step(i, state) -> state           stage or block i
        output(i, state) -> Tensor        its channels-last map (B, H, W, C), or tokens (B, h * w, C)
        as_nchw(output, state) -> Tensor  (B, C, H, W)
        leave(state) -> Tensor            what `forward_features` returns
        stem_items(), stage_groups()      what :meth:`freeze` stops

    and a family its modules, `forward_head`, `group_matcher` and :meth:`make_head`. A constructor calls :meth:`_finish`
    with one dict of num_chs, reduction, module for each possible map, and at its end :meth:`_prune`, which takes out
    the stages or blocks after the last map of a feature model.

    Args:
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth.
        num_classes: as in timm; 0 for no classifier.
        in_chans: channels of the image.
        global_pool: how the classifier pools, one of the class's `pools`.
        features_only: the dense-prediction form: no classifier, `forward` returns a list of maps.
        out_indices: which maps: None for the family's own, an int n for the last n, or indices.
        out_norms: put norms on the maps.

    Attributes:
        pools: what `global_pool` may be.
        settings: what arguments may be that are not in the families' table or are other than there.
        settings_in_full: these and those of the table and of the bases.
        undecayed: beginnings of the last part of parameters' names that no published recipe means to decay.
        searched: what a search for scan directions changes, where the family can be searched.
        num_kept: stages or blocks that the model holds, in a classifier all.
        pruned: names and shapes of the parameters and buffers that were taken out, which a file may still have.
        least_size: pixels that an image must have along each side.
        head_prefixes: state-dict prefixes that only the classifier (or a model of more maps) has; a feature model drops
            them on load.
        fresh_prefixes: prefixes that dense prediction adds, absent from ImageNet files.
        first_conv, classifier_name: parameter-path prefixes for timm's default config.
        variant: the registered name; not set where the model was built from numbers of the user's own.
        extra_classifiers: further linear layers whose size is the number of classes.
        frozen_stages: what :meth:`freeze` was last called with.
        key_options: prefix of state-dict names -> the options of a model that has them, for the message of a refusal.
    """

    pools: tuple[str, ...] = ('avg', '')
    undecayed: tuple[str, ...] = ()
    searched: Searched | None = None
    settings: ClassVar[dict[str, Setting]] = {}
    settings_in_full: ClassVar[dict[str, Setting]]
    __signature__: ClassVar[inspect.Signature]
    output_fmt: str
    variant: str
    out_indices: tuple[int, ...]
    feature_info: Any
    head_prefixes: tuple[str, ...] = ()
    fresh_prefixes: tuple[str, ...] = ()
    first_conv: str = ''
    classifier_name: str = ''
    extra_classifiers: tuple[str, ...] = ()
    frozen_stages: int = -1
    _frozen: tuple[str, ...] = ()  # parameters that `freeze` turned off
    key_options: dict[str, str] = {}

    def __init_subclass__(cls, **kwargs):
        """A constructor that takes `**common` has the arguments of the one that it passes them to, see `help(cls)`.

        Before any constructor its arguments are checked, see `mmvssm.backbones._settings`.
        """
        super().__init_subclass__(**kwargs)
        own = [p for name, p in inspect.signature(cls.__init__).parameters.items() if name != 'self']
        rest = [p for p in own if p.kind is p.VAR_KEYWORD]
        if rest:
            named = {p.name for p in own}
            above = inspect.signature(next(base for base in cls.__mro__[1:] if issubclass(base, Backbone)))
            added = [p.replace(kind=p.KEYWORD_ONLY) for p in above.parameters.values() if p.name not in named]
            own = [*(p for p in own if p not in rest), *added]
        cls.__signature__ = inspect.Signature(own)
        cls.settings_in_full = settings_of(cls)
        if '__init__' in vars(cls):
            cls.__init__ = checking(cls)  # type: ignore[method-assign]

    @classmethod
    def relate(cls, fields: SimpleNamespace) -> None:
        """Raise a ValueError where arguments do not go together; a class that has a constructor may say so.

        Args:
            fields: all arguments of the class, each as the table wants it, defaults included.
        """

    @classmethod
    def num_freezable(cls, fields: SimpleNamespace) -> int | None:
        """Stages (or blocks) that :meth:`freeze` counts in a model of these arguments; None where they do not tell."""
        return len(fields.depths) if hasattr(fields, 'depths') else getattr(fields, 'depth', None)

    def __init__(
        self,
        *,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = 'avg',
        features_only: bool = False,
        out_indices: int | Sequence[int] | None = None,
        out_norms: bool = False,
    ):
        if out_norms and not features_only:
            refuse('out_norms', out_norms, 'False without features_only=True; a classifier has no out-norms')
        super().__init__()
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.features_only = features_only
        self._wanted = out_indices
        self.out_norms = out_norms
        self.drop_rate, self.drop_path_rate, self.global_pool = drop_rate, drop_path_rate, global_pool
        self.grad_checkpointing = False
        self.least_size = 1
        self.pruned: dict[str, torch.Size] = {}
        if features_only:
            self.output_fmt = 'NCHW'

    def _finish(self, feature_table: list[dict]) -> None:
        """Set `out_indices` and `feature_info`, as timm's users read them."""
        self.out_indices = resolve_indices(self._wanted, len(feature_table))
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
        return {n for n, _ in self.named_parameters() if n.rsplit('.', 1)[-1].startswith(self.undecayed)}

    def __prepare_scriptable__(self):
        raise NotImplementedError(
            'torch.jit.script cannot compile these models, whose scan orders follow from the image size in Python; '
            'torch.jit.trace, torch.export, torch.compile and torch.fx can take them'
        )

    def freeze_groups(self) -> Iterator[list[nn.Module | nn.Parameter]]:
        """Stem first, then one group for every stage (or block of a plain model), empty where it was pruned."""
        yield self.stem_items()
        yield from self.stage_groups()

    def freeze(self, num_stages: int) -> None:
        """Stop gradients of the stem (`num_stages=0`) and of the first `num_stages` stages, and of nothing else.

        Frozen modules stay in evaluation mode (dropout, drop path, BatchNorm statistics), whatever `train()` says. What
        an earlier call froze and this one does not gets its gradients back; -1 freezes nothing.

        Raises:
            ValueError: `num_stages` is no int, or exceeds the number of stages.
        """
        check_int('frozen_stages', num_stages, range(-1, len(list(self.freeze_groups()))))
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

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ):
        """Feature maps of chosen stages (each before the downsampling to the next), or of blocks.

        Args:
            x: (B, in_chans, H, W).
            indices: stages or blocks to return (None: all, an int n: the last n).
            norm: apply the out-norm of a returned map where the model has one.
            stop_early: do not run stages or blocks after the last index.
            output_fmt: 'NCHW', or 'NHWC' of stages, 'NLC' (tokens in raster order) of blocks.
            intermediates_only: return the list alone, not (final features, list).
        """
        check_choice('output_fmt', output_fmt, ('NCHW', type(self).output_fmt))
        if stop_early and not intermediates_only:
            raise ValueError('stop_early=True has no final features; it needs intermediates_only=True')
        take = resolve_indices(tuple(indices) if isinstance(indices, list) else indices, self.num_kept, 'indices')
        maps = []
        state = self.enter(self._image(x))
        for i in range(take[-1] + 1 if stop_early else self.num_kept):
            state = self.step(i, state)
            if i in take:
                out = self.output(i, state)
                out = self.out_norm(i, out) if norm else out
                maps.append(own_copy(self.as_nchw(out, state) if output_fmt == 'NCHW' else out))
        return maps if intermediates_only else (self.leave(state), maps)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> the map (B, h, w, C) or tokens (B, L, C) that :meth:`forward_head` takes, normed."""
        state = self.enter(self._image(x))
        for i in range(self.num_kept):
            state = self.step(i, state)
        return self.leave(state)

    def get_classifier(self) -> nn.Module:
        """The linear layer whose outputs are the classes."""
        return self.get_submodule(self.classifier_name)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a fresh classifier for `num_classes` (0: none) in place."""
        if global_pool is not None:
            check_choice('global_pool', global_pool, self.pools)
            self.global_pool = global_pool
        self.num_classes = self.settings_in_full['num_classes'].check('num_classes', num_classes)
        self.make_head()
