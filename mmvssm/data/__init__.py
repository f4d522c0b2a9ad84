"""Data sets before training: what is in them and what is odd, splitting them, converting them. No OpenMMLab."""

from .check import Report, check
from .convert import SOURCES, to_coco, to_labels
from .split import split
from .words import in_short, in_words

__all__ = ['SOURCES', 'Report', 'check', 'in_short', 'in_words', 'split', 'to_coco', 'to_labels']
