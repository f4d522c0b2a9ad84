"""Filters in the frequency domain."""

from .function import spectral_filter
from .resize import resize_spectral_weight

__all__ = ['resize_spectral_weight', 'spectral_filter']
