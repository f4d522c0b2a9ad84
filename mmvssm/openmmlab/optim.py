"""Optimizer groups for vision backbones: layer-wise learning-rate decay, and no weight decay where it does harm."""

import re
from collections import defaultdict
from collections.abc import Sequence

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from timm.models import group_parameters
from timm.models._manipulate import MATCH_PREV_GROUP
from torch import nn

from mmvssm.settings import Each, Number, OrNone, Text, check_all, reject_unknown

SETTINGS = dict(layer_decay=Number(0, 1, above=True), no_decay=OrNone(Each(Text())))


def layer_scales(backbone: nn.Module, layer_decay: float) -> dict[str, float]:
    """Learning-rate factor of each parameter: `layer_decay` to the power of its distance from the neck.

    The last block has distance 1, the stem the largest; out-norms and final norms, like neck and heads, have 0.
    Blocks are counted as the model's `group_matcher` says (pairs for Vision-LSTM).
    """
    matcher = backbone.group_matcher(coarse=False)
    layer_of = group_parameters(backbone, matcher, reverse=True)
    final = [pattern for pattern, order in matcher['blocks'] if order == MATCH_PREV_GROUP]
    at_end = {name for name in layer_of if any(re.match(pattern, name) for pattern in final)}
    depth = 1 + max(layer for name, layer in layer_of.items() if name not in at_end)
    return {name: 1.0 if name in at_end else layer_decay ** (depth - layer) for name, layer in layer_of.items()}


def _exempt(model: nn.Module, no_decay: Sequence[str] | None) -> set[str]:
    """Names of the parameters without weight decay.

    Raises ValueError: a part of `no_decay` is in no name.
    """
    names = dict(model.named_parameters())
    if no_decay is None:
        listed = {f'backbone.{name}' for name in model.backbone.no_weight_decay()}
        return listed | {name for name, parameter in names.items() if parameter.ndim <= 1}
    for part in no_decay:
        if not any(part in name for name in names):
            raise ValueError(f'no_decay: {part!r} is in no parameter name of the model')
    return {name for name in names if any(part in name for part in no_decay)}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module(name='LayerDecayOptimWrapperConstructor')
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """One parameter group for each pair of learning rate and weight decay.

    The layers are those that the model itself names. Published constructors match fixed names; recipes whose names
    are not the model's (so that nothing but the stem was slowed) are written with mmengine's `custom_keys` instead.

    Config: `optim_wrapper=dict(constructor='LayerDecayOptimWrapperConstructor', paramwise_cfg=dict(...), ...)` with
        layer_decay: factor from one layer to the one before it; 1.0 (the default) only sorts the weight decay.
        no_decay: parts of the names whose parameters do not decay, and no others; by default 1-D parameters (norms,
            biases) and what the backbone's `no_weight_decay` lists (state matrices, skips, position embeddings).
    """

    def __call__(self, model: nn.Module):
        model = getattr(model, 'module', model)
        given = dict(self.paramwise_cfg or {})
        reject_unknown('paramwise_cfg', given, list(SETTINGS), 'field')
        options = {'layer_decay': 1.0, 'no_decay': None, **check_all(given, SETTINGS)}
        layer_decay, no_decay = options['layer_decay'], options['no_decay']
        optimizer = dict(self.optimizer_cfg, params=self._groups(model, layer_decay, no_decay))
        return self._wrap(optimizer)

    def _groups(self, model: nn.Module, layer_decay: float, no_decay: Sequence[str] | None) -> list[dict]:
        lr, weight_decay = self.optimizer_cfg['lr'], self.optimizer_cfg.get('weight_decay', 0.0)
        scales = {f'backbone.{n}': s for n, s in layer_scales(model.backbone, layer_decay).items()}
        exempt = _exempt(model, no_decay)
        groups = defaultdict(list)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                decayed = name not in exempt
                groups[scales.get(name, 1.0), decayed].append(parameter)
        return [
            dict(params=parameters, lr=lr * scale, weight_decay=weight_decay if decayed else 0.0)
            for (scale, decayed), parameters in sorted(groups.items(), key=lambda item: item[0])
        ]

    def _wrap(self, optimizer: dict):
        wrapper = {'type': 'OptimWrapper', **self.optim_wrapper_cfg}
        return OPTIM_WRAPPERS.build(wrapper, default_args=dict(optimizer=OPTIMIZERS.build(optimizer)))
