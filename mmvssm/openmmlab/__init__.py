"""The only place that imports OpenMMLab. Importing it registers everything: what `custom_imports` in configs name."""

from mmvssm.openmmlab import compat

compat.install()  # before anything imports mmcv.ops

from mmvssm.openmmlab import backbones, loading, optim, visualizers  # noqa: E402

__all__ = ['backbones', 'compat', 'loading', 'optim', 'visualizers']
