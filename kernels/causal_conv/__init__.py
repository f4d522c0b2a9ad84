"""Depthwise convolution along a sequence that sees no later token."""

from .function import causal_conv

__all__ = ['causal_conv']
