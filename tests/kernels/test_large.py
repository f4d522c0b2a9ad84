"""Elements more than 2^31 apart, without the memory for them: views into a file that is all holes."""

import pytest
import torch

from mmvssm.kernels import selective_scan

STRIDE = 2**29 + 8  # from token to token: fits 32 bits, the fifth token's offset does not
TOKENS = 6


class Sparse:
    """Memory for a few tensors whose tokens, dim 1, lie STRIDE apart."""

    def __init__(self, folder):
        size = TOKENS * STRIDE
        self.memory = torch.from_file(f'{folder}/holes', shared=True, size=size, dtype=torch.float32)
        self.used = 0

    def spread(self, tensor: torch.Tensor) -> torch.Tensor:
        inner = tensor[:, 0].contiguous()
        batch, *rest = inner.stride()
        view = self.memory[self.used :].as_strided(tensor.shape, (batch, STRIDE, *rest))
        self.used += inner.numel()
        return view.copy_(tensor).requires_grad_(tensor.requires_grad)


def scan_inputs():
    generator = torch.Generator().manual_seed(0)
    b, L, K, d, N = 2, TOKENS, 2, 20, 3
    x, dt, B, C = (torch.rand(b, L, *s, generator=generator) for s in [(d,), (K, 2), (K, N), (K, N)])
    parameters = [torch.rand(K, d, *s, generator=generator) for s in [(N,), (), (), (2,)]]
    return x, dt, B, C, -parameters[0], *parameters[1:]


def cell_inputs():
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(1, TOKENS, 2, 5, generator=generator) for _ in range(4)]


def test_numba(tmp_path):
    pytest.importorskip('numba')
    sparse = Sparse(tmp_path)
    *tensors, A, D, bias, weight = scan_inputs()

    def run(x, dt, B, C):
        leaves = [z.detach().requires_grad_() for z in (x, dt, B, C)]
        y = selective_scan(leaves[0], leaves[1], A, *leaves[2:], D, bias, dt_weight=weight, backend='numba')
        return y.detach(), *torch.autograd.grad(y.square().sum(), leaves)

    for found, wanted in zip(run(*map(sparse.spread, tensors)), run(*tensors), strict=True):
        assert torch.equal(found, wanted)


def _triton_scan(folder) -> list[bool]:
    from mmvssm.kernels.selective_scan import triton_launch
    from mmvssm.kernels.selective_scan.tensors import Tensors
    from tests.kernels.selective_scan.interpreted import _shrink

    _shrink()
    sparse = Sparse(folder)
    x, dt, B, C, A, *rest = scan_inputs()
    token = torch.arange(TOKENS, dtype=torch.int32)
    tables = torch.stack([token, token.flip(0)]), torch.full((2,), TOKENS, dtype=torch.int32)
    results = []
    for place in (sparse.spread, torch.clone):
        given = Tensors(place(x), place(dt), A, place(B), place(C), *rest, *tables)
        y, carries = triton_launch.forward(given, True, True, torch.float32, True)
        results.append((y, *triton_launch.backward(place(x), carries, given, True, True)))
    return [torch.equal(a, b) for a, b in zip(*results, strict=True)]


def _triton_cell(folder) -> list[bool]:
    from mmvssm.kernels.mlstm import triton_launch
    from mmvssm.kernels.mlstm.gates import gate_terms

    sparse = Sparse(folder)
    q, k, v, dh = cell_inputs()
    gates = gate_terms(q[..., 0], k[..., 0], reverse=False)
    options = dict(reverse=False, chunk_size=16, eps=1e-6)
    results = []
    for place in (sparse.spread, torch.clone):
        given = [place(q), place(k), place(v)]
        h, normaliser = triton_launch.forward(*given, gates, **options)
        results.append((h, *triton_launch.backward(place(dh), *given, h, normaliser, gates, **options)))
    return [torch.equal(a, b) for a, b in zip(*results, strict=True)]


@pytest.mark.parametrize('run', [_triton_scan, _triton_cell], ids=['selective_scan', 'mlstm'])
def test_triton(interpreted, tmp_path, run):
    assert all(interpreted(run, tmp_path))
