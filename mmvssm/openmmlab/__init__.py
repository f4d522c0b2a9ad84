"""The only place that imports OpenMMLab. Importing it registers everything: what `custom_imports` in configs name."""

from mmvssm.openmmlab import compat

compat.install()  # before anything imports mmcv.ops

from mmvssm.openmmlab import backbones, checkpoint, hooks, loading, necks, optim, visualizers  # noqa: E402

__all__ = ['backbones', 'checkpoint', 'compat', 'hooks', 'loading', 'necks', 'optim', 'visualizers']
