"""Triton kernels of the gated, normed sum: a program has some tokens, with all branches and channels at a time."""

import triton
import triton.language as tl

ANY_VALUE = ['L', 'each']  # sizes of the map, for which there is one binary


@triton.jit
def _gated_sum(y_ptr, rows, y_l, y_k, gates, inside, branches, channels, K: tl.constexpr, d: tl.constexpr, eps):
    """y (BT, BK, BD), its gated sum, normed (BT, BD), and 1 / sigma (BT,)."""
    address = y_ptr + rows[:, None, None] * y_l + branches[None, :, None].to(tl.int64) * y_k + channels[None, None, :]
    y = tl.load(address, mask=inside[:, None, :] & (branches < K)[None, :, None], other=0.0).to(tl.float32)
    total = tl.sum(y * gates[None], 1)
    centred = tl.where(inside, total - tl.sum(total, 1)[:, None] / d, 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, 1) / d + eps)
    return y, centred * scale[:, None], scale


@triton.jit
def _gates(gate_ptr, batch, branches, channels, K: tl.constexpr, d: tl.constexpr):
    address = gate_ptr + batch * (K * d) + branches[:, None] * d + channels[None, :]
    return tl.load(address, mask=(branches < K)[:, None] & (channels < d)[None, :], other=0.0).to(tl.float32)


@triton.jit(do_not_specialize=ANY_VALUE)
def combine(
    y_ptr, gate_ptr, weight_ptr, bias_ptr, z_ptr, out_ptr, y_b, y_l, y_k, z_b, z_l, L, eps,
    K: tl.constexpr, d: tl.constexpr, BT: tl.constexpr, BK: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """out (b, L, d), contiguous, of BT tokens."""
    program = tl.program_id(0).to(tl.int64)
    blocks = (L + BT - 1) // BT
    batch, rows = program // blocks, program % blocks * BT + tl.arange(0, BT)
    branches, channels = tl.arange(0, BK), tl.arange(0, BD)
    inside = (rows < L)[:, None] & (channels < d)[None, :]
    gates = _gates(gate_ptr, batch, branches, channels, K, d)
    _, normed, _ = _gated_sum(y_ptr + batch * y_b, rows, y_l, y_k, gates, inside, branches, channels, K, d, eps)
    weight = tl.load(weight_ptr + channels, mask=channels < d, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + channels, mask=channels < d, other=0.0).to(tl.float32)
    z = tl.load(z_ptr + batch * z_b + rows[:, None] * z_l + channels[None, :], mask=inside, other=0.0).to(tl.float32)
    out = (normed * weight[None, :] + bias[None, :]) * z / (1.0 + tl.exp(-z))
    tl.store(out_ptr + (batch * L + rows)[:, None] * d + channels[None, :], out, mask=inside)


@triton.jit(do_not_specialize=ANY_VALUE)
def combine_backward(
    dout_ptr, y_ptr, gate_ptr, weight_ptr, bias_ptr, z_ptr, dy_ptr, dgate_ptr, dweight_ptr, dbias_ptr, dz_ptr,
    dout_b, dout_l, y_b, y_l, y_k, z_b, z_l, L, each, eps,
    K: tl.constexpr, d: tl.constexpr, BT: tl.constexpr, BK: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """dy and dz, contiguous, of `each` tokens, and these tokens' part of the other gradients."""
    program = tl.program_id(0).to(tl.int64)
    parts = (L + each - 1) // each
    batch, part = program // parts, program % parts
    branches, channels = tl.arange(0, BK), tl.arange(0, BD)
    gates = _gates(gate_ptr, batch, branches, channels, K, d)
    weight = tl.load(weight_ptr + channels, mask=channels < d, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + channels, mask=channels < d, other=0.0).to(tl.float32)
    dgate = tl.zeros([BK, BD], tl.float32)
    dweight, dbias = tl.zeros([BD], tl.float32), tl.zeros([BD], tl.float32)
    last = tl.minimum((part + 1) * each, L)
    for start in range(part * each, last, BT):
        rows = start + tl.arange(0, BT)
        inside = (rows < last)[:, None] & (channels < d)[None, :]
        y, normed, scale = _gated_sum(y_ptr + batch * y_b, rows, y_l, y_k, gates, inside, branches, channels, K, d, eps)
        at_z = z_ptr + batch * z_b + rows[:, None] * z_l + channels[None, :]
        z = tl.load(at_z, mask=inside, other=0.0).to(tl.float32)
        at_dout = dout_ptr + batch * dout_b + rows[:, None] * dout_l + channels[None, :]
        dout = tl.load(at_dout, mask=inside, other=0.0).to(tl.float32)
        sigmoid = 1.0 / (1.0 + tl.exp(-z))
        dz = dout * (normed * weight[None, :] + bias[None, :]) * sigmoid * (1.0 + z * (1.0 - sigmoid))
        own = (batch * L + rows)[:, None]
        tl.store(dz_ptr + own * d + channels[None, :], dz, mask=inside)
        douter = dout * z * sigmoid
        dweight += tl.sum(douter * normed, 0)
        dbias += tl.sum(douter, 0)
        inner = douter * weight[None, :]
        along = tl.sum(inner * normed, 1)[:, None] / d
        dtotal = scale[:, None] * (inner - tl.sum(inner, 1)[:, None] / d - normed * along)
        dgate += tl.sum(y * dtotal[:, None, :], 0)
        at_dy = dy_ptr + own[:, :, None] * (K * d) + branches[None, :, None] * d + channels[None, None, :]
        both = inside[:, None, :] & (branches < K)[None, :, None]
        tl.store(at_dy, dtotal[:, None, :] * gates[None], mask=both)
    at = program * (K * d) + branches[:, None] * d + channels[None, :]
    tl.store(dgate_ptr + at, dgate, mask=(branches < K)[:, None] & (channels < d)[None, :])
    tl.store(dweight_ptr + program * d + channels, dweight, mask=channels < d)
    tl.store(dbias_ptr + program * d + channels, dbias, mask=channels < d)
