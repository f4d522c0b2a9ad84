"""Layouts of data sets on disk: one file a layout, which says whether it recognises a folder; a task lists its own."""

from .layout import DataError, Layout

__all__ = ['DataError', 'Layout']
