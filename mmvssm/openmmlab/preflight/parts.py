"""Builds what a config describes where it costs nothing: the model on the meta device, transforms, the optimizer."""

import copy
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, MODELS, PARAM_SCHEDULERS, TRANSFORMS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmvssm.backbones import Backbone
from mmvssm.errors import UsageError
from mmvssm.openmmlab.layouts.layout import datasets
from mmvssm.openmmlab.preflight import errors

from .keywords import SPLITS
from .places import matching


def build_backbone(cfg: Config) -> Backbone | None:
    """This project's backbone in a model, on the meta device; None where it has another, or none at its usual place."""
    node = cfg.model.get('backbone')
    if not isinstance(node, dict):
        return None
    built = _on_meta(cfg, 'model.backbone', node)
    return built if isinstance(built, Backbone) else None


def build_model(cfg: Config) -> nn.Module | None:
    """The model, on the meta device; None where a part of it cannot be built there."""
    return _on_meta(cfg, 'model', cfg.model)


def check_packages(cfg: Config, training: bool) -> None:
    """Packages that a data set asks for when it is read.

    Raises:
        UsageError: one is not installed.
    """
    for split in SPLITS[training]:
        for dataset in datasets(cfg, split):
            if 'LVIS' in str(dataset.type) and not _is_there('lvis'):
                raise UsageError(f'{dataset.type} needs the package lvis: pip install lvis')


def build_transforms(cfg: Config, training: bool) -> None:
    """Every step of every pipeline."""
    for split in SPLITS[training]:
        for dataset in datasets(cfg, split):
            for place, step in matching(dict(pipeline=dataset.get('pipeline') or []), 'pipeline.*'):
                if isinstance(step, dict):
                    with errors.named(cfg, f'{split}_dataloader.dataset.{place}'):
                        TRANSFORMS.build(copy.deepcopy(step))


def build_hooks(cfg: Config) -> None:
    """Every hook of the user's own."""
    for place, hook in matching(cfg, 'custom_hooks.*'):
        if isinstance(hook, dict):
            with errors.named(cfg, place):
                HOOKS.build({key: copy.deepcopy(value) for key, value in hook.items() if key != 'priority'})


def build_optimizer(cfg: Config, model: nn.Module) -> Any:
    """The optimizer wrapper of a model on the meta device, and its schedulers; the wrapper is returned."""
    node = copy.deepcopy(cfg.optim_wrapper)
    for option in ('fused', 'foreach', 'capturable'):  # ask for real parameters
        node.get('optimizer', {}).pop(option, None)
    if node.get('type') == 'AmpOptimWrapper':
        node = {key: node[key] for key in ('optimizer', 'constructor', 'paramwise_cfg') if key in node}
    with errors.named(cfg, 'optim_wrapper'):
        wrapper = build_optim_wrapper(model, node)
    for place, scheduler in matching(cfg, 'param_scheduler.*'):
        if isinstance(scheduler, dict) and hasattr(wrapper, 'optimizer'):
            with errors.named(cfg, place):
                _build_scheduler(copy.deepcopy(scheduler), wrapper.optimizer)
    return wrapper


def check_batch(cfg: Config, model: nn.Module) -> None:
    """BatchNorm over one value a channel, as after a global pooling of one image, has nothing to normalise by.

    Raises:
        UsageError: the model would meet that, and how it would not.
    """
    loader = cfg.train_dataloader
    pooled = any(isinstance(m, nn.AdaptiveAvgPool2d) and m.output_size in (1, (1, 1)) for m in model.modules())
    normed = any(isinstance(m, _BatchNorm) for m in model.modules())
    if loader.get('batch_size') == 1 and pooled and normed and cfg.get('launcher', 'none') == 'none':
        raise UsageError(
            'train_dataloader.batch_size=1 is too few for a model that pools an image to one value and has BatchNorm\n'
            'give 2 or more, or norm_cfg=dict(type="GN", num_groups=...) in its heads'
        )


def _is_there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # imports of it are refused
        return False


def _build_scheduler(node: dict, optimizer: torch.optim.Optimizer) -> None:
    if node.pop('convert_to_iter_based', False):
        cls = PARAM_SCHEDULERS.get(node.pop('type'))
        node.pop('_scope_', None)  # of a config that another package's inherits
        cls.build_iter_from_epoch(optimizer=optimizer, epoch_length=1000, **node)
    else:
        PARAM_SCHEDULERS.build(node, default_args=dict(optimizer=optimizer))


def _on_meta(cfg: Config, place: str, node: dict) -> Any:
    try:
        with errors.named(cfg, place), _random_numbers_kept(), torch.device('meta'):
            return MODELS.build(copy.deepcopy(node))
    except UsageError as error:
        if 'meta' in str(error.__cause__):  # a model that looks at its weights while it is built
            return None
        raise


@contextmanager
def _random_numbers_kept() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        yield
