"""Triton kernels of the chunkwise mLSTM, that serve forward and backward; `triton_launch` has the host's part.

Every product of the mLSTM is one of two kinds, as the equations of `blocked` and their derivatives show:

`sum_chunks`         sum over t in c of w_t x_t z_t^T, of all chunks side by side; `carry_states` makes of them
                     S_{c+1} = decay_c S_c + that sum, from the first chunk to the last (x = k, z = v: the state) or
                     from the last to the first (x = q, z = dh: its gradient).
`apply_pairs`        out_r = sum over the partners p of r in its chunk of (a x_r . y_p + b) E s z_p  +  edge_r x_r^T S_c

                            rows r     x   y   z   a, b                    S
                     h      readers    q   k   v   1, 0                    C
                     dq     readers    dh  v   k   scale_t, d_norm_t       C^T
                     dk     read       v   dh  q   scale_t, d_norm_t       dC^T
                     dv     read       k   q   dh  scale_t, 0              dC

Tensors are (b, S, heads, dim), read where they lie; vectors are float32 (b * heads, S) in reading order. Positions p
count in reading order; a reversed sequence reads token S - 1 - p at p. Tiles are BT tokens by BX or BZ channels.
"""

from typing import Any, NamedTuple

import triton
import triton.language as tl

from ..triton_groups import groups_written_out, own_names


@triton.jit
def token_of(position, length, REVERSE: tl.constexpr):
    """The token that is read at a position."""
    if REVERSE:
        return (length - 1 - position).to(tl.int64)
    else:
        return position.to(tl.int64)


@triton.jit
def load_tile(ptr, token, token_stride, inside, d, dim):
    """[BT, BD] of the tokens and channels d; zeros outside."""
    mask = inside[:, None] & (d < dim)[None, :]
    return tl.load(ptr + token[:, None] * token_stride + d[None, :], mask=mask, other=0.0)


@triton.jit
def pair_weights(t, M, M_low, u, y, y_low, inside):
    """2^(y_u - M_t), both sums of two float32 so that their difference keeps its digits; 0 where u comes after t."""
    exponent = (y - M) + (y_low - M_low)
    return tl.where((u <= t) & inside, tl.exp2(tl.minimum(exponent, 0.0)), 0.0)


class Tokens(NamedTuple):
    """A tensor (b, S, heads, dim): its address, and its strides."""

    ptr: Any
    batch: Any
    token: Any
    head: Any


@own_names
class Vectors(NamedTuple):
    """float32 (b * heads, S) in reading order; the exponents M and y are pairs of them."""

    M_ptr: Any
    y_exponent_ptr: Any
    floor_ptr: Any
    scale_ptr: Any
    shift_ptr: Any
    edge_ptr: Any
    edge_shift_ptr: Any


def kernel(function):
    """`triton.jit` of a kernel with groups of arguments."""
    return triton.jit(groups_written_out(function))


@kernel
def sum_chunks(
    x: Tokens,
    z: Tokens,
    weight_ptr,
    vector_weight_ptr,
    state_ptr,
    vector_ptr,
    length,
    dim,
    heads,
    chunks,
    CHUNK: tl.constexpr,
    FROM_END: tl.constexpr,
    REVERSE: tl.constexpr,
    DOT: tl.constexpr,
    PRECISION: tl.constexpr,
    BT: tl.constexpr,
    BX: tl.constexpr,
    BZ: tl.constexpr,
):
    """What each chunk but the last adds to the state after it (each but the first, before it, if FROM_END).

    It is left where that state will be, in (b * heads, chunks, dim, dim), and what it adds to the normaliser, the sum
    of x_t with weights of its own, in (.., dim). Grid: b * heads times chunks - 1 times tiles of dim x dim, the last
    fastest, on the one axis that has room for any number of them.
    """
    tiles = tl.cdiv(dim, BZ)
    area = tl.cdiv(dim, BX) * tiles
    tile = tl.program_id(0) % area
    c = tl.program_id(0) // area % (chunks - 1)
    row = (tl.program_id(0) // (area * (chunks - 1))).to(tl.int64)
    at = row * chunks + (c if FROM_END else c + 1)
    if FROM_END:
        c += 1
    dx = (tile // tiles) * BX + tl.arange(0, BX)
    dz = (tile % tiles) * BZ + tl.arange(0, BZ)
    x.ptr += (row // heads) * x.batch + (row % heads) * x.head
    z.ptr += (row // heads) * z.batch + (row % heads) * z.head
    state = tl.zeros([BX, BZ], tl.float32)
    vector = tl.zeros([BX], tl.float32)
    for t in range(0, CHUNK, BT):
        p = c * CHUNK + t + tl.arange(0, BT)
        inside = p < length
        token = token_of(p, length, REVERSE)
        left = load_tile(x.ptr, token, x.token, inside, dx, dim).to(tl.float32)
        right = load_tile(z.ptr, token, z.token, inside, dz, dim)
        weight = tl.load(weight_ptr + row * length + p, mask=inside, other=0.0)
        own = tl.load(vector_weight_ptr + row * length + p, mask=inside, other=0.0)
        weighted = tl.trans(left * weight[:, None]).to(DOT)
        state = tl.dot(weighted, right.to(DOT), state, input_precision=PRECISION)
        vector += tl.sum(left * own[:, None], 0)
    offsets = (at * dim + dx[:, None]) * dim + dz[None, :]
    tl.store(state_ptr + offsets, state, mask=(dx < dim)[:, None] & (dz < dim)[None, :])
    if tile % tiles == 0:
        tl.store(vector_ptr + at * dim + dx, vector, mask=dx < dim)


@kernel
def carry_states(state_ptr, decay_ptr, size, chunks, FROM_END: tl.constexpr, BLOCK: tl.constexpr):
    """Sums of single chunks -> states, in place: (b * heads, chunks, size); the one that nothing precedes stays unset.

    Grid: b * heads times blocks of `size` numbers, the latter fastest.
    """
    blocks = tl.cdiv(size, BLOCK)
    i = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    first = (tl.program_id(0) // blocks).to(tl.int64) * chunks
    state = tl.zeros([BLOCK], tl.float32)
    for step in range(1, chunks):
        c = first + (chunks - 1 - step if FROM_END else step)
        decay = tl.load(decay_ptr + (c + 1 if FROM_END else c - 1))
        state = state * decay + tl.load(state_ptr + c * size + i, mask=i < size, other=0.0)
        tl.store(state_ptr + c * size + i, state, mask=i < size)


@kernel
def apply_pairs(
    x: Tokens,
    y: Tokens,
    z: Tokens,
    own: Tokens,
    vectors: Vectors,
    out_ptr,
    sum_ptr,
    state_ptr,
    vector_ptr,
    state_x,
    state_z,
    size,
    length,
    dim,
    heads,
    chunks,
    root,
    eps,
    CHUNK: tl.constexpr,
    READERS: tl.constexpr,
    KIND: tl.constexpr,
    REVERSE: tl.constexpr,
    DOT: tl.constexpr,
    PRECISION: tl.constexpr,
    BT: tl.constexpr,
    BX: tl.constexpr,
    BZ: tl.constexpr,
):
    """See the module. Grid: b * heads times tiles of BZ channels times tiles of BT tokens, the last fastest.

    READERS: rows read, columns are read, else the reverse. KIND: 'output' divides by the normaliser and stores it to
    `sum`; 'shifted' adds b and the normaliser's term, and stores the rows' products with `own`, first without and then
    (`size` times the tiles of channels later) of the pairs of a token with itself; 'plain' does neither.
    M and y exponents are pairs of vectors, `size` numbers apart.
    """
    columns, blocks = tl.cdiv(dim, BZ), tl.cdiv(length, BT)
    first = tl.program_id(0) % blocks * BT
    column = tl.program_id(0) // blocks % columns
    row = (tl.program_id(0) // (blocks * columns)).to(tl.int64)
    c = first // CHUNK
    p = first + tl.arange(0, BT)
    inside = p < length
    token = token_of(p, length, REVERSE)
    dz = column * BZ + tl.arange(0, BZ)
    batch, head = row // heads, row % heads
    x.ptr += batch * x.batch + head * x.head
    y.ptr += batch * y.batch + head * y.head
    z.ptr += batch * z.batch + head * z.head
    at_row = row * length
    if READERS:
        row_exponent_ptr, column_exponent_ptr = vectors.M_ptr, vectors.y_exponent_ptr
    else:
        row_exponent_ptr, column_exponent_ptr = vectors.y_exponent_ptr, vectors.M_ptr
    high = tl.load(row_exponent_ptr + at_row + p, mask=inside, other=0.0)
    low = tl.load(row_exponent_ptr + size + at_row + p, mask=inside, other=0.0)

    out = tl.zeros([BT, BZ], tl.float32)
    normaliser = tl.zeros([BT], tl.float32)
    itself = tl.zeros([BT], tl.float32)
    start = c * CHUNK if READERS else first
    stop = first + BT if READERS else tl.minimum((c + 1) * CHUNK, length)
    for begin in range(start, stop, BT):
        partner = begin + tl.arange(0, BT)
        there = partner < length
        partner_token = token_of(partner, length, REVERSE)
        products = tl.zeros([BT, BT], tl.float32)
        for d in range(0, dim, BX):
            dx = d + tl.arange(0, BX)
            left = load_tile(x.ptr, token, x.token, inside, dx, dim)
            right = load_tile(y.ptr, partner_token, y.token, there, dx, dim)
            products = tl.dot(left.to(DOT), tl.trans(right.to(DOT)), products, input_precision=PRECISION)
        other_high = tl.load(column_exponent_ptr + at_row + partner, mask=there, other=0.0)
        other_low = tl.load(column_exponent_ptr + size + at_row + partner, mask=there, other=0.0)
        if READERS:
            weights = pair_weights(
                p[:, None], high[:, None], low[:, None],
                partner[None, :], other_high[None, :], other_low[None, :], there[None, :],
            )  # fmt: skip
            if KIND == 'shifted':
                a = tl.load(vectors.scale_ptr + at_row + p, mask=inside, other=0.0)
                b = tl.load(vectors.shift_ptr + at_row + p, mask=inside, other=0.0)
                products = products * a[:, None] + b[:, None]
        else:
            weights = pair_weights(
                partner[None, :], other_high[None, :], other_low[None, :],
                p[:, None], high[:, None], low[:, None], there[None, :],
            )  # fmt: skip
            a = tl.load(vectors.scale_ptr + at_row + partner, mask=there, other=0.0)
            products = products * a[None, :]
            if KIND == 'shifted':
                b = tl.load(vectors.shift_ptr + at_row + partner, mask=there, other=0.0)
                products += b[None, :]
        products = products * weights * root
        if KIND == 'output':
            normaliser += tl.sum(products, 1)
        if KIND == 'shifted':  # no forget gate stands in these pairs, and their share would only cancel later
            same = p[:, None] == partner[None, :]
            itself += tl.sum(tl.where(same, products, 0.0), 1)
            products = tl.where(same, 0.0, products)
        values = load_tile(z.ptr, partner_token, z.token, there, dz, dim)
        out = tl.dot(products.to(DOT), values.to(DOT), out, input_precision=PRECISION)

    has_state = c > 0 if READERS else c < chunks - 1
    if has_state:
        edge = tl.load(vectors.edge_ptr + at_row + p, mask=inside, other=0.0)
        at = row * chunks + c
        for d in range(0, dim, BX):
            dx = d + tl.arange(0, BX)
            left = load_tile(x.ptr, token, x.token, inside, dx, dim).to(tl.float32) * edge[:, None]
            offsets = at * dim * dim + dx[:, None] * state_x + dz[None, :] * state_z
            state = tl.load(state_ptr + offsets, mask=(dx < dim)[:, None] & (dz < dim)[None, :], other=0.0)
            out = tl.dot(left.to(DOT), state.to(DOT), out, input_precision=PRECISION)
            if KIND == 'output':
                vector = tl.load(vector_ptr + at * dim + dx, mask=dx < dim, other=0.0)
                normaliser += tl.sum(left * vector[None, :], 1)
        if KIND == 'shifted':
            vector = tl.load(vector_ptr + at * dim + dz, mask=dz < dim, other=0.0)
            edge_shift = tl.load(vectors.edge_shift_ptr + at_row + p, mask=inside, other=0.0)
            out += edge_shift[:, None] * vector[None, :]

    if KIND == 'output':
        floor = tl.load(vectors.floor_ptr + at_row + p, mask=inside, other=1.0)
        out = out / (tl.maximum(tl.abs(normaliser), floor) + eps)[:, None]
        if column == 0:
            tl.store(sum_ptr + at_row + p, normaliser, mask=inside)
    if KIND == 'shifted':
        own.ptr += batch * own.batch + head * own.head
        compared = load_tile(own.ptr, token, own.token, inside, dz, dim).to(tl.float32)
        sums = (row * columns + column) * length
        tl.store(sum_ptr + sums + p, tl.sum(compared * out, 1), mask=inside)
        values = load_tile(z.ptr, token, z.token, inside, dz, dim).to(tl.float32) * itself[:, None]
        out += values
        sums += columns.to(tl.int64) * size
        tl.store(sum_ptr + sums + p, tl.sum(compared * values, 1), mask=inside)
    out_ptr += ((batch * length + token) * heads + head)[:, None] * dim + dz[None, :]
    tl.store(out_ptr, out.to(out_ptr.dtype.element_ty), mask=inside[:, None] & (dz < dim)[None, :])
