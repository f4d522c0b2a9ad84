"""Stand-ins for mmcv's compiled extension, on the prebuilt operators of torchvision and PyTorch.

`mmcv.ops` is Python around one C++ module, `mmcv._ext`. Where mmcv was installed without it (mmcv-lite, or
the continuation built without a compiler), `install()` puts a module of that name in its place, and mmcv's
own wrappers, layers and registrations then work unchanged. What is covered, and what is not, is listed in
docs/operators.md.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType

import torchvision

from . import attention, deform, focal, nms, roi

NAME = 'mmcv._ext'

IMPLEMENTED: dict[str, Callable] = {
    function.__name__: function
    for function in (
        nms.nms,
        nms.softnms,
        roi.roi_align_forward,
        roi.roi_align_backward,
        roi.roi_pool_forward,
        roi.roi_pool_backward,
        focal.sigmoid_focal_loss_forward,
        focal.sigmoid_focal_loss_backward,
        focal.softmax_focal_loss_forward,
        focal.softmax_focal_loss_backward,
        deform.deform_conv_forward,
        deform.deform_conv_backward_input,
        deform.deform_conv_backward_parameters,
        deform.modulated_deform_conv_forward,
        deform.modulated_deform_conv_backward,
        attention.ms_deform_attn_forward,
        attention.ms_deform_attn_backward,
    )
}


def install() -> bool:
    """Make `mmcv.ops` importable; idempotent.

    Returns:
        True where the stand-ins serve, False where a compiled mmcv does (it is left alone).

    Raises:
        ModuleNotFoundError: mmcv is not installed at all.
    """
    if NAME not in sys.modules and importlib.util.find_spec(NAME) is None:
        spec = ModuleSpec(NAME, _Loader(), origin=__name__)
        module = importlib.util.module_from_spec(spec)
        _Loader().exec_module(module)
        sys.modules[NAME] = module
        vars(sys.modules['mmcv'])['_ext'] = module  # as an import of a submodule does
    return isinstance(sys.modules.get(NAME), _Extension)


class _Extension(ModuleType):
    """`mmcv._ext`: the implemented functions, and for any other name one that says so when it is called."""

    def __getattr__(self, name: str) -> Callable:
        if name.startswith('__'):
            raise AttributeError(f'module {NAME!r} has no attribute {name!r}')
        return _unavailable(name)


class _Loader(importlib.abc.Loader):
    """A spec needs a loader, and mmengine and mmcv ask for the spec to see whether mmcv has operators."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Extension(spec.name, doc=__doc__)

    def exec_module(self, module: ModuleType) -> None:
        version = f'none: torchvision {torchvision.__version__} stands in'
        versions = dict.fromkeys(('get_compiler_version', 'get_compiling_cuda_version'), lambda: version)
        vars(module).update(**IMPLEMENTED, **versions)


def _unavailable(name: str) -> Callable:
    def raise_unavailable(*args, **kwargs):
        raise NotImplementedError(
            f"operator '{name}' needs mmcv's compiled extension, which is not installed; "
            'the operators that work without it are listed in docs/operators.md of mmvssm'
        )

    raise_unavailable.__name__ = raise_unavailable.__qualname__ = name
    return raise_unavailable
