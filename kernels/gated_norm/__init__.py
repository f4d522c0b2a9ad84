"""A gated sum of branches, its LayerNorm, and the gate of its tokens."""

from .function import gated_norm

__all__ = ['gated_norm']
