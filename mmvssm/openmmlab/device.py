"""Training settings that depend on the device."""

import torch
from mmengine.config import Config


def use_amp(cfg: Config) -> None:
    """Mixed precision, bfloat16 unless the config names a type (state-space scans overflow float16 more easily).

    A loss that is not finite then stops the run, and names the layer it came from.
    """
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('dtype', 'bfloat16')
    cfg.custom_hooks = [*cfg.get('custom_hooks', []), dict(type='mmvssm.NaNWatchHook')]


def fit_device(cfg: Config) -> list[str]:
    """Adapt a recipe written for GPUs to the machine; returns what was changed, one line each.

    Without a GPU: float32 in place of mixed precision, gloo in place of nccl, and BatchNorm in place of SyncBN (or of
    `sync_bn`), which PyTorch synchronises on GPUs only. On a GPU without bfloat16: float16 with dynamic loss scaling.
    """
    changes = []
    wrapper = cfg.get('optim_wrapper') or {}
    amp = wrapper.get('type') == 'AmpOptimWrapper'
    if torch.cuda.is_available():
        if amp and wrapper.get('dtype') == 'bfloat16' and not torch.cuda.is_bf16_supported():
            wrapper.update(dtype='float16', loss_scale='dynamic')
            changes.append('this GPU has no bfloat16: mixed precision with float16')
        return changes
    if amp:
        for key in ('dtype', 'loss_scale', 'use_fsdp'):
            wrapper.pop(key, None)
        wrapper['type'] = 'OptimWrapper'
        changes.append('no GPU: float32 in place of mixed precision')
    if cfg.get('launcher', 'none') != 'none' and cfg.get('env_cfg', {}).get('dist_cfg', {}).get('backend') == 'nccl':
        cfg.env_cfg.dist_cfg.backend = 'gloo'
        changes.append('no GPU: processes talk through gloo in place of nccl')
    if any([cfg.pop('sync_bn', None), _replace_norm(cfg.get('model', {}))]):
        changes.append('no GPU: BatchNorm in place of SyncBN')
    return changes


def _replace_norm(node) -> bool:
    """SyncBN -> BN everywhere in a model config; returns whether there was any."""
    if isinstance(node, dict):
        found = node.get('type') == 'SyncBN'
        if found:
            node['type'] = 'BN'
        return sum([found, *map(_replace_norm, node.values())]) > 0
    if isinstance(node, list | tuple):
        return sum(map(_replace_norm, node)) > 0
    return False
