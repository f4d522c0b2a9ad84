"""Pictures, without any OpenMMLab: one file a kind."""

from .contact_sheet import Colours, Instances, beside, paint_instances, paint_labels, palette, sheet
from .predictions import paint_classes, paint_found

__all__ = [
    'Colours',
    'Instances',
    'beside',
    'paint_classes',
    'paint_found',
    'paint_instances',
    'paint_labels',
    'palette',
    'sheet',
]
