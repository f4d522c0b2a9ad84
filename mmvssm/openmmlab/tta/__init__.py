"""Test-time augmentation as config entries.

`tta_model=dict(type='mmvssm.MaskTTAModel', tta_cfg=...)` for detectors, `dict(type='mmvssm.SegTTAModel')` for
segmentors; mmdet and mmseg are imported when one is built, not when they are registered.
"""

from typing import Any

from mmengine.model import BaseTTAModel

from mmvssm.registry import MODELS


@MODELS.register_module()
def MaskTTAModel(**kwargs: Any) -> BaseTTAModel:
    """See `detection.MaskTTAModel`."""
    from . import detection

    return detection.MaskTTAModel(**kwargs)


@MODELS.register_module()
def SegTTAModel(**kwargs: Any) -> BaseTTAModel:
    """See `segmentation.SegTTAModel`."""
    from . import segmentation

    return segmentation.SegTTAModel(**kwargs)
