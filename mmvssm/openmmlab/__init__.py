"""The only place that imports OpenMMLab. Importing it registers everything: what `custom_imports` in configs name."""

from mmvssm.openmmlab import ops

ops.install()  # before anything imports mmcv.ops

from mmvssm.openmmlab import backbones  # noqa: E402

__all__ = ['backbones', 'ops']
