"""Pictures, without any OpenMMLab: one file a kind."""

from .contact_sheet import Instances, beside, paint_instances, paint_labels, palette, sheet

__all__ = ['Instances', 'beside', 'paint_instances', 'paint_labels', 'palette', 'sheet']
