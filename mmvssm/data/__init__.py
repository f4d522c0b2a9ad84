"""Data sets before training: what is in them and what is odd, splitting them, converting them. No OpenMMLab."""

from .check import Report, check
from .convert import SOURCES, to_coco, to_labels
from .split import split

__all__ = ['SOURCES', 'Report', 'check', 'split', 'to_coco', 'to_labels']
