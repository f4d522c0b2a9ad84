"""What the Triton tests run in the interpreting and in the compiling worker process."""

import os
import re
import subprocess
import tempfile
from functools import partial

import torch

from mmvssm.kernels import mlstm
from mmvssm.kernels.mlstm import mlstm_recurrent
from tests.kernels.mlstm.common import errors, exactly, make_inputs, with_gradients


def interpreted_errors(
    length: int, dim: int, dtype: torch.dtype, reverse: bool, chunk_size: int = 16, **inputs
) -> dict:
    """RMS-relative errors of output and gradients against the float64 definition; new memory is filled with NaN."""
    x = make_inputs(length, dim, dtype=dtype, batch=1, **inputs)
    expected = exactly(partial(mlstm_recurrent, reverse=reverse), x)
    torch.use_deterministic_algorithms(True)
    try:
        found = with_gradients(partial(mlstm, reverse=reverse, chunk_size=chunk_size, backend='triton'), x)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(value.dtype == dtype for value in found.values())
    return errors(found, expected)


def interpreted_is_repeatable() -> bool:
    x = make_inputs(20, 5, batch=1)
    runs = [with_gradients(partial(mlstm, chunk_size=16, backend='triton'), x) for _ in range(2)]
    return all(torch.equal(runs[0][name], value) for name, value in runs[1].items())


def interpreted_strided_error() -> float:
    """Inputs with other strides than contiguous ones, those of a batch and head of which all is a view included."""
    x = tuple(t.detach().movedim(1, 0).contiguous().movedim(0, 1).requires_grad_() for t in make_inputs(20, 5))
    found = with_gradients(partial(mlstm, chunk_size=16, backend='triton'), x)
    return max(errors(found, with_gradients(partial(mlstm, backend='blocked'), x)).values())


def resources(kernel: str, kind: str, readers: bool, dtype: torch.dtype, dim: int, arch: int) -> dict[str, int]:
    """Registers and bytes of stack and local memory of a kernel as it is launched, compiled without a GPU."""
    import triton
    from triton.backends.compiler import GPUTarget

    from mmvssm.kernels.mlstm import triton_kernels, triton_launch
    from tests.kernels.aot import ast_source

    function = getattr(triton_kernels, kernel)
    is_pairs = kernel == 'apply_pairs'
    tiles = (triton_launch.pair_tiles if is_pairs else triton_launch.state_tiles)(dim, dtype)
    chunk = triton_launch.chunk_size_for(0, dim, None)
    constants = dict(
        CHUNK=chunk,
        REVERSE=True,
        BT=min(tiles.BT, chunk),
        BX=tiles.BX,
        BZ=tiles.BZ,
        **triton_launch.dot_options(dtype, torch.device('cuda')),
    )
    constants.update(dict(KIND=kind, READERS=readers) if is_pairs else dict(FROM_END=readers))
    constants['BLOCK'] = triton_launch.CARRIED
    constants = {name: value for name, value in constants.items() if name in function.arg_names}
    types = {name: _type(name, dtype) for name in function.arg_names if name not in constants}
    source = ast_source(function, types, constants, filter(_is_aligned, function.arg_names))
    target = GPUTarget('cuda', arch, 32)
    return _usage(triton.compile(source, target=target, options=dict(num_warps=tiles.warps)).asm['cubin'])


def _type(name: str, dtype: torch.dtype) -> str:
    if name in ('x_ptr', 'y_ptr', 'z_ptr', 'own_ptr', 'out_ptr'):
        return {torch.float32: '*fp32', torch.float16: '*fp16', torch.bfloat16: '*bf16'}[dtype]
    if name.endswith('_ptr'):
        return '*fp32'
    return 'fp32' if name in ('root', 'eps') else 'i32'


def _is_aligned(name: str) -> bool:
    return name.endswith(('_ptr', '_batch', '_token', '_head')) or name == 'dim'


def _usage(cubin: bytes) -> dict[str, int]:
    import triton.backends.nvidia as nvidia

    program = os.path.join(os.path.dirname(nvidia.__file__), 'bin', 'cuobjdump')
    with tempfile.NamedTemporaryFile(suffix='.cubin') as file:
        file.write(cubin)
        file.flush()
        run = subprocess.run([program, '--dump-resource-usage', file.name], capture_output=True, text=True, check=True)
    found = {name: int(value) for name, value in re.findall(r'(REG|STACK|LOCAL):(\d+)', run.stdout)}
    assert set(found) == {'REG', 'STACK', 'LOCAL'}, run.stdout
    return found
