"""mmvssm: vision state-space backbones for dense prediction."""

__version__ = '0.1.0'
