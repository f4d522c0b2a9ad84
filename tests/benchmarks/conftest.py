"""The Triton workers of the kernels' tests."""

from tests.kernels.conftest import compiled, interpreted

__all__ = ['compiled', 'interpreted']
