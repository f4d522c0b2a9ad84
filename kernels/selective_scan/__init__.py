"""The selective scan (S6) along scan orders."""

from .function import selective_scan
from .op import flops

__all__ = ['flops', 'selective_scan']
