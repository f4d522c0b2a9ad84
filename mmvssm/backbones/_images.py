"""What every backbone asks of an image, checked where it enters; and a guard for programs that fit one size alone."""

import functools
import warnings

import torch
from torch import Tensor

from mmvssm.tracing import is_tracing

# Under torch.jit.trace our sizes do become constants: the program is held to the traced size, see `check_image`.
warnings.filterwarnings('ignore', category=torch.jit.TracerWarning, module=r'mmvssm\.')


def check_image(x: Tensor, in_chans: int, least_size: int) -> Tensor:
    """The image itself. Its batch may be empty; its values are not looked at.

    While torch.jit.trace traces, what leaves is held to the traced size: the program refuses another.

    Raises:
        ValueError: not a floating-point tensor (B, in_chans, H, W) of at least `least_size` pixels a side.
    """
    if not is_tracing():
        return _checked(x, in_chans, least_size)
    with warnings.catch_warnings():
        warnings.simplefilter(
            'ignore'
        )  # sizes become constants, which is what the guard is for; torch.jit is deprecated
        x = _checked(x, in_chans, least_size)
        # ONNX files state their sizes themselves
        in_onnx = getattr(torch.onnx, 'is_in_onnx_export', lambda: False)()
        return x if in_onnx else _guard()(x, int(x.shape[2]), int(x.shape[3]))


def _checked(x: Tensor, in_chans: int, least_size: int) -> Tensor:
    if (
        not isinstance(x, Tensor)
        or x.ndim != 4
        or x.shape[1] != in_chans
        or x.shape[2] < least_size
        or x.shape[3] < least_size
        or not x.is_floating_point()
    ):
        got = f'{tuple(map(int, x.shape))} of {x.dtype}' if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(
            f'expected a (B, in_chans, H, W) floating-point image of at least {least_size} x {least_size} pixels, '
            f'in_chans={in_chans}; got {got}'
        )
    return x


@functools.cache
def _guard():
    return torch.jit.script(traced_for_one_size)


def traced_for_one_size(x: Tensor, height: int, width: int) -> Tensor:
    """TorchScript, which keeps the branch in the traced program and needs nothing of this project to run it."""
    if x.size(2) != height or x.size(3) != width:
        raise ValueError(
            f'this program was traced for images of {height} x {width} pixels; got {x.size(2)} x {x.size(3)}: '
            'trace it for this size, or use torch.compile'
        )
    return x
