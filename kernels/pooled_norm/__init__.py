"""The mean over tokens of a LayerNorm."""

from .function import pooled_norm

__all__ = ['pooled_norm']
