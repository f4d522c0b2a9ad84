"""Order tables in plain ONNX operators, of a height and width that the graph itself knows; see `mmvssm.scans`."""

from onnxscript import opset18 as op


def _integer(value: int):
    return op.Constant(value_int=value)


def _range(count):
    return op.Range(_integer(0), count, _integer(1))


def _round_up(size, multiple: int):
    """How many times `multiple` covers a size."""
    return op.Div(op.Add(size, _integer(multiple - 1)), _integer(multiple))


def _shape(*sizes):
    """A shape out of numbers and scalars."""
    one = op.Constant(value_ints=[1])
    parts = [op.Constant(value_ints=[s]) if isinstance(s, int) else op.Reshape(s, one) for s in sizes]
    return op.Concat(*parts, axis=0)


def _windows(height, width, side: int):
    """Windows row by row, row by row inside; -1 beyond the map."""
    down, across = _round_up(height, side), _round_up(width, side)
    row = op.Reshape(_range(op.Mul(down, _integer(side))), _shape(down, 1, side, 1))
    column = op.Reshape(_range(op.Mul(across, _integer(side))), _shape(1, across, 1, side))
    inside = op.And(op.Less(row, height), op.Less(column, width))
    return op.Reshape(op.Where(inside, op.Add(op.Mul(row, width), column), _integer(-1)), op.Constant(value_ints=[-1]))


def _lattice(height, width, number: int):
    """Every other row and column; odd lattices go column by column."""
    two = _integer(2)
    row = op.Add(op.Mul(_range(_round_up(height, 2)), two), _integer(number % 2))
    column = op.Add(op.Mul(_range(_round_up(width, 2)), two), _integer(number // 2))
    row, column = op.Unsqueeze(row, op.Constant(value_ints=[1])), op.Unsqueeze(column, op.Constant(value_ints=[0]))
    inside = op.And(op.Less(row, height), op.Less(column, width))
    grid = op.Where(inside, op.Add(op.Mul(row, width), column), _integer(-1))
    grid = op.Transpose(grid, perm=[1, 0]) if number % 2 else grid
    return op.Reshape(grid, op.Constant(value_ints=[-1]))


def _order(name: str, height, width):
    base = name.removesuffix('_flip')
    if base == 'h':
        table = _range(op.Mul(height, width))
    elif base == 'v':
        grid = op.Reshape(_range(op.Mul(height, width)), _shape(height, width))
        table = op.Reshape(op.Transpose(grid, perm=[1, 0]), op.Constant(value_ints=[-1]))
    elif base.startswith('atrous'):
        table = _lattice(height, width, int(base.removeprefix('atrous')))
    else:
        table = _windows(height, width, int(base[1:]))
    if name == base:
        return table
    last, before_first = op.Constant(value_ints=[-1]), op.Constant(value_ints=[-(2**62)])
    return op.Slice(table, last, before_first, op.Constant(value_ints=[0]), last)


def orders_node(names: str, height, width):
    """See `nodes.orders_node`: (K, S) int32, shorter tables filled up with -1."""
    tables = [_order(name, height, width) for name in names.split()]
    longest = op.Size(tables[0])
    for table in tables[1:]:
        longest = op.Max(longest, op.Size(table))
    rows = []
    for table in tables:
        missing = op.Reshape(op.Sub(longest, op.Size(table)), op.Constant(value_ints=[1]))
        filled = op.Pad(table, op.Concat(op.Constant(value_ints=[0]), missing, axis=0), _integer(-1))
        rows.append(op.Unsqueeze(filled, op.Constant(value_ints=[0])))
    return op.Cast(op.Concat(*rows, axis=0) if len(rows) > 1 else rows[0], to=6)


def remainder(self, other):
    """aten.remainder by a number that the graph computes, which torch's own translation does not take."""
    other = _integer(other) if isinstance(other, int) else other
    return op.Mod(self, op.CastLike(other, self))
