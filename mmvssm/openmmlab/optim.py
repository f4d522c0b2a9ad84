"""Optimizer groups for vision backbones: layer-wise learning-rate decay, and no weight decay where it does harm."""

import re
from collections import defaultdict

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from timm.models import group_parameters
from timm.models._manipulate import MATCH_PREV_GROUP
from torch import nn


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


@OPTIM_WRAPPER_CONSTRUCTORS.register_module(name='LayerDecayOptimWrapperConstructor')
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """One parameter group for each pair of learning rate and weight decay.

    No weight decay on 1-D parameters (norms, biases) and on what the backbone's `no_weight_decay` lists (state
    matrices, skips, dt biases, position embeddings). The published constructors match names that these models do
    not have, so their decay reached little more than the stem; this one asks the model itself.

    Config: `optim_wrapper=dict(constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay=0.65), ...)`; `layer_decay=1.0` (the default) only sorts the weight decay.
    """

    def __call__(self, model: nn.Module):
        model = getattr(model, 'module', model)
        options = dict(self.paramwise_cfg or {})
        layer_decay = options.pop('layer_decay', 1.0)
        if options:
            raise ValueError(f'paramwise_cfg has an unknown field {next(iter(options))!r}; allowed: layer_decay')
        if not 0.0 < layer_decay <= 1.0:
            raise ValueError(f'layer_decay={layer_decay} must lie in (0, 1]')
        optimizer = dict(self.optimizer_cfg, params=self._groups(model, layer_decay))
        return self._wrap(optimizer)

    def _groups(self, model: nn.Module, layer_decay: float) -> list[dict]:
        lr, weight_decay = self.optimizer_cfg['lr'], self.optimizer_cfg.get('weight_decay', 0.0)
        scales = {f'backbone.{n}': s for n, s in layer_scales(model.backbone, layer_decay).items()}
        exempt = {f'backbone.{name}' for name in model.backbone.no_weight_decay()}
        groups = defaultdict(list)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                decayed = parameter.ndim > 1 and name not in exempt
                groups[scales.get(name, 1.0), decayed].append(parameter)
        return [
            dict(params=parameters, lr=lr * scale, weight_decay=weight_decay if decayed else 0.0)
            for (scale, decayed), parameters in sorted(groups.items(), key=lambda item: item[0])
        ]

    def _wrap(self, optimizer: dict):
        wrapper = {'type': 'OptimWrapper', **self.optim_wrapper_cfg}
        return OPTIM_WRAPPERS.build(wrapper, default_args=dict(optimizer=OPTIMIZERS.build(optimizer)))
