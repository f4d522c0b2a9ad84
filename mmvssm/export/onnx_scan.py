"""The selective scan in ONNX, in two forms, along tables of any length.

`plain`: operators of opset 18. The sequence is cut into chunks of CHUNK steps, which run side by side from a zero
state; a scan over the chunks' end states by doubling, of logarithmic depth, gives what enters each chunk.
`attention`: the LinearAttention operator of opset 27 with the update rule 'gated', which is the selective scan for
heads = channels, d_k = states, d_v = 1, k = delta B, v = u, q = C and decay = delta A.
"""

from collections.abc import Callable

from onnxscript import opset18 as op
from onnxscript.values import Opset

CHUNK = 16
LEVELS = 12  # doublings: sequences of up to CHUNK * 2 ** LEVELS = 65,536 steps
ATTENTION = Opset('', 27)


def _ints(*values: int):
    return op.Constant(value_ints=list(values))


def _integer(value: int):
    return op.Constant(value_int=value)


def _size(tensor, axis: int):
    """A dimension, of shape (1,)."""
    return op.Shape(tensor, start=axis, end=axis + 1)


def _range(count):
    return op.Range(_integer(0), op.Squeeze(count), _integer(1))


def _along(tokens, index, shared: bool):
    """Tokens (b, L, c), or (b, L, K, c) of each direction's own, in the order of `index` (K, S): (b, K, S, c)."""
    batch, length = _size(tokens, 0), _size(tokens, 1)
    directions, steps = _size(index, 0), _size(index, 1)
    if not shared:
        width = op.Shape(tokens, start=3, end=4)
        own = op.Add(op.Mul(index, directions), op.Unsqueeze(_range(directions), _ints(1)))
        index = op.Where(op.Less(index, _integer(0)), op.Mul(length, directions), own)
        tokens = op.Reshape(tokens, op.Concat(batch, op.Mul(length, directions), width, axis=0))
    else:
        width = op.Shape(tokens, start=2, end=3)
        index = op.Where(op.Less(index, _integer(0)), length, index)
    nothing = op.Expand(op.CastLike(op.Constant(value_float=0.0), tokens), op.Concat(batch, _ints(1), width, axis=0))
    read = op.Gather(op.Concat(tokens, nothing, axis=1), op.Reshape(index, _ints(-1)), axis=1)
    return op.Reshape(read, op.Concat(batch, directions, steps, width, axis=0))


def _back(y, index, length):
    """Outputs (b, K, S, d) at their tokens: (b, K, L, d), zero where an order never reads."""
    batch, directions, steps = _size(y, 0), _size(index, 0), _size(index, 1)
    never = op.Expand(steps, op.Concat(directions, op.Add(length, _ints(1)), axis=0))
    where = op.Where(op.Less(index, _integer(0)), length, index)
    step = op.Expand(_range(steps), op.Shape(index))
    table = op.Slice(op.ScatterElements(never, where, step, axis=1), _ints(0), length, _ints(1))
    own = op.Add(table, op.Mul(op.Unsqueeze(_range(directions), _ints(1)), steps))
    own = op.Where(op.Equal(table, steps), op.Mul(steps, directions), own)
    width = op.Shape(y, start=3, end=4)
    flat = op.Reshape(y, op.Concat(batch, op.Mul(directions, steps), width, axis=0))
    nothing = op.Expand(op.Constant(value_float=0.0), op.Concat(batch, _ints(1), width, axis=0))
    found = op.Gather(op.Concat(flat, nothing, axis=1), op.Reshape(own, _ints(-1)), axis=1)
    return op.Reshape(found, op.Concat(batch, directions, length, width, axis=0))


def _last(value):
    return op.Unsqueeze(value, _ints(-1))


def _second_last(value):
    return op.Unsqueeze(value, _ints(-2))


def _plain(u, delta, A, B, C):
    """y (b, K, S, d) of u, delta (b, K, S, d), A (K, d, N), B, C (b, K, S, N)."""
    steps = _size(u, 2)
    chunks = op.Div(op.Add(steps, _ints(CHUNK - 1)), _ints(CHUNK))
    missing = op.Sub(op.Mul(chunks, _ints(CHUNK)), steps)
    pads = op.Concat(_ints(0, 0, 0, 0, 0, 0), missing, _ints(0), axis=0)

    def cut(z):
        head, tail = op.Shape(z, start=0, end=2), op.Shape(z, start=3, end=4)
        return op.Reshape(op.Pad(z, pads), op.Concat(head, chunks, _ints(CHUNK), tail, axis=0))

    du, delta, B, C = cut(op.Mul(delta, u)), cut(delta), cut(B), cut(C)
    A = op.Unsqueeze(A, _ints(1))  # (K, 1, d, N)

    def at(z, t: int):
        return op.Gather(z, _integer(t), axis=3)

    h, own = None, []
    for t in range(CHUNK):
        step = op.Mul(_last(at(du, t)), _second_last(at(B, t)))
        h = step if h is None else op.Add(step, op.Mul(op.Exp(op.Mul(_last(at(delta, t)), A)), h))
        own.append(op.ReduceSum(op.Mul(h, _second_last(at(C, t))), _ints(-1), keepdims=0))
    elapsed = op.CumSum(delta, _integer(3))
    entering = _entering(op.Exp(op.Mul(_last(at(elapsed, CHUNK - 1)), A)), h, chunks)
    whole = []
    for t in range(CHUNK):
        left = op.Mul(op.Exp(op.Mul(_last(at(elapsed, t)), A)), entering)
        y = op.Add(own[t], op.ReduceSum(op.Mul(left, _second_last(at(C, t))), _ints(-1), keepdims=0))
        whole.append(op.Unsqueeze(y, _ints(3)))
    y = op.Concat(*whole, axis=3)
    head, tail = op.Shape(y, start=0, end=2), op.Shape(y, start=4, end=5)
    y = op.Reshape(y, op.Concat(head, op.Mul(chunks, _ints(CHUNK)), tail, axis=0))
    return op.Slice(y, _ints(0), steps, _ints(2))


def _entering(decay, end, chunks):
    """The state that enters each chunk, of what chunks multiply theirs by and where they end from zero."""
    place = _range(chunks)

    def before(z, distance: int):
        """Entry i - distance, or zero: a row of zeros stands before the first."""
        head, tail = op.Shape(z, start=0, end=2), op.Shape(z, start=3, end=5)
        nothing = op.Expand(op.Constant(value_float=0.0), op.Concat(head, _ints(1), tail, axis=0))
        index = op.Max(op.Sub(place, _integer(distance - 1)), _integer(0))
        return op.Gather(op.Concat(nothing, z, axis=2), index, axis=2)

    for level in range(LEVELS):
        end = op.Add(end, op.Mul(decay, before(end, 1 << level)))
        if level + 1 < LEVELS:
            decay = op.Mul(decay, before(decay, 1 << level))
    return before(end, 1)


def _attention(u, delta, A, B, C):
    """As `_plain`, by one operator; directions are part of the batch."""
    channels, states = A.shape[1], A.shape[2]
    batch, directions, steps = _size(u, 0), _size(u, 1), _size(u, 2)
    packed = op.Concat(op.Mul(batch, directions), steps, _ints(channels * states), axis=0)
    full = op.Shape(op.Mul(_last(u), _second_last(B)))

    def pack(z):
        return op.Reshape(z, packed)

    decay = op.Mul(_last(delta), op.Unsqueeze(A, _ints(1)))
    key = op.Mul(_last(delta), _second_last(B))
    value = op.Reshape(u, op.Concat(op.Mul(batch, directions), steps, _ints(channels), axis=0))
    y = ATTENTION.LinearAttention(
        pack(op.Expand(_second_last(C), full)),
        pack(key),
        value,
        None,
        pack(decay),
        q_num_heads=channels,
        kv_num_heads=channels,
        scale=1.0,
        update_rule='gated',
    )
    y = y[0] if isinstance(y, tuple | list) else y
    return op.Reshape(y, op.Shape(u))


def scan_node(core: Callable) -> Callable:
    """The translation of `nodes.scan_node` with one of the two forms."""

    def translate(x, dt, A, B, C, D=None, dt_bias=None, dt_weight=None, index=None, softplus=True, merge=True):
        length, index = _size(x, 1), op.Cast(index, to=7)
        u = _along(x, index, shared=len(x.shape) == 3)
        delta = _along(dt, index, shared=False)
        if dt_weight is not None:
            delta = op.MatMul(delta, op.Transpose(dt_weight, perm=[0, 2, 1]))
        if dt_bias is not None:
            delta = op.Add(delta, op.Unsqueeze(dt_bias, _ints(1)))
        if softplus:
            delta = op.Softplus(delta)
        y = core(u, delta, A, _along(B, index, shared=False), _along(C, index, shared=False))
        if D is not None:
            y = op.Add(y, op.Mul(op.Unsqueeze(D, _ints(1)), u))
        y = _back(y, index, length)
        return op.ReduceSum(y, _ints(1), keepdims=0) if merge else op.Transpose(y, perm=[0, 2, 1, 3])

    return translate


FORMS = {'plain': scan_node(_plain), 'attention': scan_node(_attention)}
