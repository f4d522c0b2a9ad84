"""Counting multiply-adds by the convention of the published tables."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

_aten = torch.ops.aten


def _layer_norm(input_shape, *args, out_shape=None, **kwargs) -> int:
    return 2 * 5 * torch.Size(input_shape).numel()


def _batch_norm(input_shape, *args, out_shape=None, **kwargs) -> int:
    return 2 * 2 * torch.Size(input_shape).numel()


_NORMS = {
    _aten.native_layer_norm: _layer_norm,
    _aten.native_batch_norm: _batch_norm,
    _aten.cudnn_batch_norm: _batch_norm,
}


def count_flops(model: nn.Module, input_shape: tuple[int, int, int, int] = (1, 3, 224, 224)) -> int:
    """Multiply-adds of one forward pass, as the papers of these models count them.

    One multiply-add counts once in convolutions, linear layers and matrix products; a selective scan of L steps,
    d channels, N states counts 9 L d N + L d (Mamba's table); a LayerNorm 5 and a BatchNorm 2 per element;
    activations nothing.
    The operators here register twice that with `torch.utils.flop_counter`, whose unit is half a multiply-add, so
    this is half of what a plain `FlopCounterMode` says, plus the norms.

    Args:
        model: any backbone; nothing is computed where it lies on the meta device.
        input_shape: (B, C, H, W).
    """
    device = next(model.parameters()).device
    mode = FlopCounterMode(display=False, custom_mapping=_NORMS)
    training = model.training
    with torch.no_grad(), mode:
        model.eval()(torch.zeros(input_shape, device=device))
    model.train(training)
    return mode.get_total_flops() // 2
