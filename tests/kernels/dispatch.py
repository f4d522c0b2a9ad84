"""Counts what a block launches: the operations that reach the device, views and allocations left out."""

import contextlib
import functools

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import mmvssm
from mmvssm import scans

FAMILIES = ('test_vmamba', 'test_localvmamba', 'test_vim', 'test_localvim', 'test_efficientvmamba', 'test_vil')
BLOCKS = ('VSSBlock', 'EVSSBlock', 'StreamBlock', 'ViLBlock')
_NO_KERNEL = {'_reshape_alias', '_unsafe_view', 'device', 'empty', 'is_same_size', 'promote_types', 'reshape', 'view'}


class Launches(TorchDispatchMode):
    """Counts operations; one of this project's counts as one, whatever it launches."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        schema = func._schema
        is_view = any(a.alias_info is not None and not a.alias_info.is_write for a in schema.arguments)
        self.count += not (is_view or schema.name.split('::')[1] in _NO_KERNEL)
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def _autocast(dtype: torch.dtype | None):
    """What torch.autocast does, which turns itself off where no GPU is."""
    before = torch.is_autocast_enabled('cuda'), torch.get_autocast_dtype('cuda')
    torch.set_autocast_enabled('cuda', dtype is not None)
    torch.set_autocast_dtype('cuda', dtype or before[1])
    try:
        yield
    finally:
        torch.set_autocast_enabled('cuda', before[0])
        torch.set_autocast_dtype('cuda', before[1])
        torch.clear_autocast_cache()


@contextlib.contextmanager
def _remembered_tables():
    """Fake tables are not kept; here they are, as real ones would be."""
    derived = scans.derived
    scans.derived = functools.cache(lambda make, names, *place, layer=None: derived(make, names, *place))
    try:
        yield
    finally:
        scans.derived = derived


def launches_of_blocks(name: str, dtype: torch.dtype | None) -> int:
    """The most that a block of a model launches, in a forward pass on a GPU that is not there; tables are there."""
    model = mmvssm.create_model(name).eval()
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), _autocast(dtype), _remembered_tables():
        model = model.to('cuda')
        image = torch.empty(1, 3, 64, 64, device='cuda')
        model(image)
        torch.clear_autocast_cache()  # weights are cast anew in each forward pass
        blocks = [module for module in model.modules() if type(module).__name__ in BLOCKS]
        with Launches() as found:
            each = [_count(block, found) for block in blocks]
            model(image)
    return max(count['after'] - count['before'] for count in each)


def _count(block: torch.nn.Module, found: Launches) -> dict[str, int]:
    counts: dict[str, int] = {}
    block.register_forward_pre_hook(lambda *args: counts.update(before=found.count))
    block.register_forward_hook(lambda *args: counts.update(after=found.count))
    return counts


def main() -> None:
    for name in FAMILIES:
        print(name, *(launches_of_blocks(name, dtype) for dtype in (None, torch.bfloat16)))


if __name__ == '__main__':
    main()
