"""Whether the values of a checkpoint's tensor can be a model's."""

import torch
from torch import Tensor

from .errors import CheckpointError, shown
from .report import fit

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)


def prepare(name: str, value: Tensor, like: Tensor) -> Tensor:
    """A checkpoint's tensor in the shape and type of the model's tensor `like`.

    Weights may be of any floating-point type that needs no scale, counters of any type that holds them exactly.

    Args:
        name: of the tensor, for the messages.
        value: the checkpoint's.
        like: the model's.

    Raises:
        CheckpointError: another type (quantised, complex), NaN, infinity or what overflows the model's type, or a
            file's tensor without values.
        ValueError: a model that cannot take any.
    """
    if like.is_meta:
        raise ValueError(
            f"the model's {name} is on the meta device, which holds no values; nothing was loaded.\n"
            "Build the model without torch.device('meta'), or call model.to_empty(device='cpu') first (what the file "
            'lacks stays unset).'
        )
    if hasattr(like, 'placements'):
        raise ValueError(f"the model's {name} is sharded; nothing was loaded.\nLoad the weights before sharding it.")
    allowed = FLOATS if like.is_floating_point() else (*INTEGERS, *FLOATS)
    if value.dtype not in allowed:
        kinds = ', '.join(str(kind).removeprefix('torch.') for kind in allowed)
        raise CheckpointError(
            f'{shown(name)} is {str(value.dtype).removeprefix("torch.")}, which is no value of a weight.\n'
            f'Allowed: {kinds}.'
        )
    if value.is_meta:
        raise CheckpointError(
            f'{shown(name)} is on the meta device, which holds no values.\nGive the tensors themselves.'
        )
    value = fit(value, like.shape)
    cast = value.to(like.dtype)
    if like.is_floating_point():
        if not torch.isfinite(cast).all():
            raise CheckpointError(f'{shown(name)} holds {_not_finite(value, like.dtype)}.\nAllowed: finite numbers.')
    elif not torch.equal(cast.to(value.dtype), value):
        raise CheckpointError(
            f'{shown(name)} is a counter, but holds {value.flatten()[0].item()}.\nAllowed: whole numbers.'
        )
    return cast


def _not_finite(value: Tensor, dtype: torch.dtype) -> str:
    """What there is in a tensor that is no finite number of a type."""
    if value.isnan().any():
        return 'NaN'
    return 'infinity' if value.isinf().any() else f'more than {str(dtype).removeprefix("torch.")} can hold'
