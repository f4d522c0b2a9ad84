"""The place that imports OpenMMLab, patches it and registers hooks, necks and the rest: what `custom_imports` name.

The backbones are registered without it, by `mmvssm.registry`.
"""

from mmvssm.openmmlab import compat

compat.install()  # before anything imports mmcv.ops

from mmvssm.openmmlab import (  # noqa: E402
    classification,
    coco_metric,
    config_files,
    distillation,
    hooks,
    loading,
    loggers,
    necks,
    optim,
    processes,
    sampling,
    tta,
    unattended,
    unlabelled,
)

hooks.strict_load.install()
unattended.install()
processes.install()
config_files.install()

__all__ = [
    'classification',
    'coco_metric',
    'compat',
    'config_files',
    'distillation',
    'hooks',
    'loading',
    'loggers',
    'necks',
    'optim',
    'processes',
    'sampling',
    'tta',
    'unattended',
    'unlabelled',
]
