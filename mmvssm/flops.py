"""Counting multiply-adds by the convention of the published tables, and term by term.

A model is counted by what it is, not by how this machine computes it: its forward pass runs once on shapes alone (the
meta device), so torch's version, the device, half precision, autocast and the kernels' backend change nothing.
"""

import math
import operator
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

from mmvssm.kernels import use_backend
from mmvssm.kernels.mlstm import chunkwise_flops
from mmvssm.kernels.selective_scan.op import flops as scan_flops

MLSTM_COUNTS = ('published', 'as_run')
# multiply-adds per element of the input: centre, square, scale, ... as the papers' counters have them
_NORMS: dict[Callable, int] = {
    **dict.fromkeys((F.batch_norm, torch.batch_norm, torch.native_batch_norm), 2),
    **dict.fromkeys((F.rms_norm, torch.rms_norm), 3),
    **dict.fromkeys((F.layer_norm, torch.layer_norm, torch.native_layer_norm), 5),
    **dict.fromkeys((F.group_norm, torch.group_norm, torch.native_group_norm), 5),
    **dict.fromkeys((F.instance_norm, torch.instance_norm), 5),
}
_MATRIX_PRODUCTS = {getattr(torch.ops.aten, name) for name in ('mm', 'addmm', 'bmm', 'baddbmm', '_scaled_mm')}


@dataclass(frozen=True)
class FlopTerms:
    """Multiply-adds of one forward pass: (path of the module, operator) -> count.

    Operators: 'convolution'; 'linear' (every matrix product, projections inside a scan included); 'attention'; 'scan';
    'mlstm'; 'norm'; 'other' (formulas that others registered with `torch.utils.flop_counter`).
    """

    counts: Counter[tuple[str, str]]

    @property
    def total(self) -> int:
        return self.counts.total()

    def by_operator(self) -> dict[str, int]:
        """Operator -> multiply-adds, the largest first."""
        return self._grouped(lambda path, name: name)

    def by_module(self, depth: int = 1) -> dict[str, int]:
        """Path of the module, cut to `depth` names -> multiply-adds in it and below; '' is the model itself.

        Raises:
            ValueError: a negative depth, or one that is no int.
        """
        if type(depth) is not int or depth < 0:
            raise ValueError(f'depth={depth!r} must be an int, 0 (the whole model) or more')
        return self._grouped(lambda path, name: '.'.join(path.split('.')[:depth]))

    def _grouped(self, key: Callable[[str, str], str]) -> dict[str, int]:
        groups: Counter[str] = Counter()
        for (path, name), count in self.counts.items():
            groups[key(path, name)] += count
        return dict(groups.most_common())


def count_flops(
    model: nn.Module, input_shape: tuple[int, int, int, int] = (1, 3, 224, 224), mlstm: str = 'published'
) -> int:
    """Multiply-adds of one forward pass in evaluation mode, as the papers of these models count them.

    One multiply-add counts once in convolutions, linear layers, attention and matrix products; a selective scan of L
    steps, d channels, N states counts 9 L d N + L d (Mamba's table; padded steps count); a BatchNorm 2, an RMSNorm 3
    and any other norm 5 for each element; activations, pooling and spectral transforms nothing. Zeros that a module
    multiplies by for speed do not count, nor does what follows from weights alone (tables and gains made to fit the
    image). So the count is linear in B. It is half of what `torch.utils.flop_counter` says, plus the norms.

    Args:
        model: any backbone, on any device or several, in any precision, wrapped or compiled; nothing is computed, and
            it is left as it was.
        input_shape: (B, C, H, W).
        mlstm: 'published', the causal half of a quadratic product, as the ViL papers count, whatever the length; or
            'as_run', the chunkwise form that runs here and grows linearly with the number of tokens.

    Raises:
        ValueError: an input_shape other than four positive ints, an unknown `mlstm`, a TorchScript or exported program.
        TypeError: a model that is no nn.Module, such as a variant's name.
    """
    return flop_terms(model, input_shape, mlstm).total


def flop_terms(
    model: nn.Module, input_shape: tuple[int, int, int, int] = (1, 3, 224, 224), mlstm: str = 'published'
) -> FlopTerms:
    """As :func:`count_flops`, told apart by module and operator."""
    shape = _checked_shape(input_shape)
    if mlstm not in MLSTM_COUNTS:
        raise ValueError(f'mlstm={mlstm!r} is not known; allowed: {", ".join(MLSTM_COUNTS)}')
    if not isinstance(model, nn.Module):
        raise TypeError(f'model={model!r} must be an nn.Module, such as mmvssm.create_model(NAME) gives')
    if _is_program(model):
        raise ValueError(f'{type(model).__name__} is a compiled program; count the model that it was made from')
    while isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        model = model.module
    state = {name: _shape_of(t) for name, t in (*model.named_parameters(), *model.named_buffers())}
    tally = _Tally()
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(use_backend('auto'))
        stack.enter_context(_eager())
        stack.enter_context(_evaluation_mode(model))
        stack.enter_context(_followed(model, tally))
        stack.enter_context(_Products(tally, mlstm))
        stack.enter_context(_Functions(tally))
        image = torch.empty(shape, dtype=torch.float32, device='meta')
        _mark(image)
        functional_call(model, state, (image,))
    return FlopTerms(tally.counts)


def _checked_shape(input_shape: Any) -> tuple[int, ...]:
    try:
        shape = tuple(operator.index(length) for length in input_shape)
    except TypeError:
        shape = ()
    if len(shape) != 4 or min(shape) < 1:
        raise ValueError(f'input_shape={input_shape!r} must be (B, C, H, W), four positive ints')
    return shape


def _is_program(model: nn.Module) -> bool:
    """Whether norms and scans were taken apart already (or cannot be seen), as torch.jit and torch.export do."""
    if isinstance(model, torch.fx.GraphModule):
        return any(isinstance(node.target, torch._ops.OpOverload) for node in model.graph.nodes)
    return isinstance(model, torch.jit.ScriptModule)


def _shape_of(tensor: Tensor) -> Tensor:
    """The tensor without its values, and without the precision that it happens to be stored in."""
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return torch.empty(tensor.shape, dtype=dtype, device='meta')


def _tensors(*trees: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(trees) if isinstance(leaf, Tensor)]


def _mark(tensor: Tensor) -> None:
    """Remembers that a tensor follows from the input, not from weights alone."""
    tensor.follows_input = True


def _follow_input(tensors: list[Tensor]) -> bool:
    return any(getattr(tensor, 'follows_input', False) for tensor in tensors)


def _eager() -> AbstractContextManager:
    """Compiled modules run as they were written."""
    return torch.compiler.set_stance('force_eager') if 'torch._dynamo' in sys.modules else nullcontext()


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:  # exported programs refuse eval()
            module.training = False
        yield
    finally:
        for module, training in modes:
            module.training = training


class _Tally:
    """Counts so far, and the modules that the forward pass is in."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.path = ['']
        self.muted = 0

    def add(self, name: str, count: int) -> None:
        if count and not self.muted:
            self.counts[self.path[-1], name] += count

    @contextmanager
    def mute(self) -> Iterator[None]:
        """What runs inside was counted as a whole."""
        self.muted += 1
        try:
            yield
        finally:
            self.muted -= 1


@contextmanager
def _followed(model: nn.Module, tally: _Tally) -> Iterator[None]:
    """Keep `tally.path`; a module that has `multiply_adds(x)` is counted by that and not by what it runs."""

    def enter(path: str, whole: Callable | None) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple) -> None:
            tally.path.append(path)
            if whole:
                tally.add('linear', whole(*args))
                tally.muted += 1

        return hook

    def leave(whole: Callable | None) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple, output: Any) -> None:
            tally.path.pop()
            if whole:
                tally.muted -= 1

        return hook

    handles = []
    for name, module in model.named_modules():
        whole = getattr(module, 'multiply_adds', None)
        path = name.replace('_orig_mod.', '').removesuffix('_orig_mod')
        handles.append(module.register_forward_pre_hook(enter(path, whole)))
        handles.append(module.register_forward_hook(leave(whole)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Functions(TorchFunctionMode):
    """Counts what has many operators beneath it (norms, attention) where it is called.

    A constant that is no parameter or buffer joins the others on the meta device.
    """

    def __init__(self, tally: _Tally):
        super().__init__()
        self.tally = tally

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        tensors = _tensors(args, kwargs)
        if len({tensor.is_meta for tensor in tensors}) == 2:
            args, kwargs = tree_map(lambda leaf: leaf.to('meta') if isinstance(leaf, Tensor) else leaf, (args, kwargs))
        if not _follow_input(tensors):
            return func(*args, **kwargs)
        if func in _NORMS:
            x = args[0] if args else kwargs['input']
            self.tally.add('norm', _NORMS[func] * x.numel())
        elif func is F.scaled_dot_product_attention:
            q, k, v = tensors[:3]
            pairs = math.prod(torch.broadcast_shapes(q.shape[:-2], k.shape[:-2])) * q.shape[-2] * k.shape[-2]
            self.tally.add('attention', pairs * (q.shape[-1] + v.shape[-1]))
        else:
            return func(*args, **kwargs)
        with self.tally.mute():
            return func(*args, **kwargs)


class _Products(TorchDispatchMode):
    """Counts convolutions, matrix products and this project's operators."""

    def __init__(self, tally: _Tally, mlstm: str):
        super().__init__()
        self.tally = tally
        self.mlstm = mlstm

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        packet = func._overloadpacket
        if packet not in flop_registry and func is not torch.ops.prim.device.default:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:  # inference mode leaves composite operators whole
                return result
        if packet is torch.ops.aten._to_copy and args[0].is_meta:
            kwargs['device'] = 'meta'  # a model spread over devices stays in one place
        result = func(*args, **kwargs)
        if not _follow_input(_tensors(args, kwargs)):
            return result
        for tensor in _tensors(result):
            _mark(tensor)
        if packet in flop_registry:
            for name, count in self._terms(packet, args, kwargs, result).items():
                self.tally.add(name, count)
        return result

    def _terms(self, packet: Any, args: tuple, kwargs: dict, result: Any) -> dict[str, int]:
        whole = flop_registry[packet](*args, **kwargs, out_val=result) // 2
        if packet is torch.ops.mmvssm.selective_scan:
            x, A, index = args[0], args[2], args[8]
            scan = scan_flops(x.shape[0], index.shape[1], *A.shape) // 2
            return {'scan': scan, 'linear': whole - scan}
        if packet is torch.ops.mmvssm.mlstm:
            return {'mlstm': whole if self.mlstm == 'published' else chunkwise_flops(args[0].shape) // 2}
        if packet in _MATRIX_PRODUCTS:
            return {'linear': whole}
        return {next((kind for kind in ('convolution', 'attention') if kind in str(packet)), 'other'): whole}
