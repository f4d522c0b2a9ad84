"""What torch's tracers need to be asked or told: torch.compile, torch.export and so ONNX, torch.jit.trace, torch.fx.

A module that one of them holds as a single node is marked in `mmvssm.backbones._graph`, a function by `torch.fx.wrap`,
which has to be called in the function's own module.
"""

import torch
import torch.fx


def is_compiling() -> bool:
    """Whether torch.compile or torch.export reads this code: it may break the graph, sizes may be symbols."""
    return torch.compiler.is_compiling()


def is_tracing() -> bool:
    """Whether torch.jit.trace records operations: sizes are constants, no Python function of autograd may be held."""
    return torch.jit.is_tracing()


def is_exporting() -> bool:
    """Whether a graph of plain ATen operations is wanted (torch.export and so ONNX, torch.jit.trace)."""
    return _in_torch_export() or is_tracing()


def _in_torch_export() -> bool:
    if hasattr(torch.compiler, 'is_exporting'):
        return torch.compiler.is_exporting()
    # torch 2.6: non-strict export sets the flag of is_compiling, strict export is Dynamo's
    return torch.compiler._is_compiling_flag or (torch.compiler.is_dynamo_compiling() and _dynamo_exports())


@torch.compiler.assume_constant_result
def _dynamo_exports() -> bool:
    return torch._dynamo.symbolic_convert.InstructionTranslator.current_tx().export


def is_symbolic(size) -> bool:
    """Whether a size is a symbol of a trace (torch.compile, torch.fx), on which Python cannot branch."""
    return is_compiling() or isinstance(size, torch.fx.Proxy)


def largest(a: int, b: int) -> int:
    """The larger of two sizes, which may be symbols of a trace; torch.jit.trace keeps it as a constant."""
    if is_tracing():
        return max(int(a), int(b))
    return max(a, b) if isinstance(a, int) and isinstance(b, int) else torch.sym_max(a, b)
