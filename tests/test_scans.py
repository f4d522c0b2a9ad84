"""Scan orders: the published tables, and that writing back is the adjoint of reading."""

import multiprocessing
import threading

import pytest
import torch

from mmvssm import scans
from mmvssm.scans import ATROUS_SCAN, CROSS_SCAN, LOCAL_SCAN, orders, read, read_each, write
from mmvssm.scans import merge as merge_orders

SIZES = [(7, 7), (13, 17), (25, 40), (1, 9), (9, 1), (1, 1)]
NAMES = [*LOCAL_SCAN, *ATROUS_SCAN, 'w3', 'w5_flip', 'atrous1_flip']


def spiral(H, W):
    """An order that a user might add: the border of the map alone, backwards."""
    grid = torch.arange(H * W).view(H, W)
    return torch.cat([grid[0], grid[1:, -1]]).flip(0)


def table(name, H=3, W=5):
    return orders([name], H, W).index[0].tolist()


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('v', '0 5 10 1 6 11 2 7 12 3 8 13 4 9 14'),
        ('w2', '0 1 5 6 2 3 7 8 4 . 9 . 10 11 . . 12 13 . . 14 . . .'),
        ('w2_flip', '. . . 14 . . 13 12 . . 11 10 . 9 . 4 8 7 3 2 6 5 1 0'),
        ('atrous0', '0 2 4 10 12 14'),
        ('atrous1', '5 . 7 . 9 .'),
        ('atrous2', '1 3 . 11 13 .'),
        ('atrous3', '6 . 8 . . .'),
    ],
)
def test_table_of_a_3x5_map(name, expected):
    assert table(name) == [-1 if t == '.' else int(t) for t in expected.split()]


@pytest.mark.parametrize('size', SIZES, ids=str)
def test_cross_scan_is_the_formula(size):
    H, W = size
    tokens = torch.arange(H * W)
    rows, columns = tokens, (tokens % H) * W + tokens // H
    expected = torch.stack([rows, columns, rows.flip(0), columns.flip(0)])
    assert torch.equal(orders(CROSS_SCAN, H, W).index.long(), expected)


@pytest.mark.parametrize('size', SIZES, ids=str)
def test_straight_orders_are_told_by_two_bits(size):
    names = ('v', 'h_flip', 'h', 'v_flip')
    made = orders(names, *size)
    assert made.straight == (*size, 0b11_00_10_01)
    tokens = torch.arange(size[0] * size[1], dtype=torch.int32).view(size)
    for k, index in enumerate(made.index):
        code = made.straight[2] >> 2 * k
        along = (tokens.t() if code & 1 else tokens).flatten()
        assert torch.equal(index, along.flip(0) if code & 2 else along)


@pytest.mark.parametrize(
    'names', [('h', 'w2'), ('atrous0',), (spiral, 'h'), ('h',) * 16], ids=['windows', 'atrous', 'a function', 'sixteen']
)
def test_other_orders_are_not_straight(names):
    assert orders(names, 4, 6).straight == ()


def test_a_replaced_order_is_not_straight(monkeypatch):
    monkeypatch.setitem(scans.ORDERS, 'h', lambda H, W, device=None: torch.arange(H * W, dtype=torch.int32).flip(0))
    assert orders(['h'], 2, 3).straight == ()


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('size', SIZES, ids=str)
def test_every_token_at_most_once(name, size):
    index = orders([name], *size).index[0]
    tokens = index[index >= 0]
    assert tokens.unique().numel() == tokens.numel()
    if not name.startswith('atrous'):
        assert tokens.numel() == size[0] * size[1]


def test_atrous_lattices_part_the_map():
    index = orders(ATROUS_SCAN, 5, 7).index
    assert index[index >= 0].sort().values.tolist() == list(range(35))


def test_shorter_orders_end_in_padding():
    result = orders(['h', 'w2', spiral], 3, 5)
    assert result.lengths.tolist() == [15, 24, 7]
    assert result.index.shape == (3, 24)
    assert (result.index[0, 15:] == -1).all()
    assert (result.index[2, 7:] == -1).all()


@pytest.mark.parametrize('size', SIZES, ids=str)
@pytest.mark.parametrize(
    'names', [CROSS_SCAN, LOCAL_SCAN, ATROUS_SCAN, (spiral, 'w3')], ids=['cross', 'local', 'atrous', 'own']
)
def test_merge_is_the_adjoint_of_read(names, size):
    o = orders(names, *size)
    x = torch.randn(2, o.num_tokens, 3)
    y = torch.randn(2, *o.index.shape, 3)
    left, right = (read(x, o) * y).sum(), (x * merge_orders(y, o)).sum()
    assert (left - right).abs() <= 1e-6 * (read(x, o).norm() * y.norm())
    z = torch.randn(2, o.num_tokens, len(names), 3)
    left, right = (read_each(z, o) * y).sum(), (z.transpose(1, 2) * write(y, o)).sum()
    assert (left - right).abs() <= 1e-6 * (z.norm() * y.norm())


def test_write_drops_padding_and_leaves_zeros():
    o = orders(['atrous0'], 3, 5)
    y = write(torch.ones(1, 1, 6), o)
    assert y.view(3, 5).tolist() == [[1, 0, 1, 0, 1], [0] * 5, [1, 0, 1, 0, 1]]


def test_cached_tables_made_in_inference_mode_serve_training():
    with torch.inference_mode():
        o = orders(['h', 'v'], 6, 11)
    x = torch.randn(1, 66, 2, requires_grad=True)
    read(x, o).sum().backward()
    assert orders(['h', 'v'], 6, 11).index is o.index
    assert torch.equal(x.grad, torch.full_like(x, 2.0))


def test_symbolic_sizes_trace_without_a_break():
    @torch.compile(fullgraph=True, dynamic=True, backend='aot_eager')
    def flat(x):
        H, W = x.shape[1:3]
        return read(x.flatten(1, 2), orders(LOCAL_SCAN[:6], H, W))

    for H, W in ((5, 7), (6, 9)):
        x = torch.randn(2, H, W, 3)
        assert torch.equal(flat(x), read(x.flatten(1, 2), orders(LOCAL_SCAN[:6], H, W)))


@pytest.mark.parametrize('name', ['x', 'w', 'w0', 'w-2', 'atrous4', 'h_flip_flip', ''])
def test_unknown_order_names_what_is_allowed(name):
    with pytest.raises(ValueError, match=f'scan order .* allowed: {", ".join(scans.ORDERS)}, wK'):
        orders([name], 3, 5)


def test_no_order_is_an_error():
    with pytest.raises(ValueError, match='at least one'):
        orders([], 3, 5)


@pytest.mark.parametrize(
    ('function', 'message'),
    [
        (lambda H, W: torch.arange(H * W).view(H, W), r'a tensor of shape \(3, 5\)'),
        (lambda H, W: torch.arange(0), r'a tensor of shape \(0,\)'),
        (lambda H, W: torch.arange(H * W).float(), 'a tensor of torch.float32'),
        (lambda H, W: torch.arange(H * W + 1), 'tokens from 0 to 15'),
        (lambda H, W: torch.arange(H * W) - 2, 'tokens from -2 to 12'),
        (lambda H, W: torch.arange(H * W) // 2, 'token 0 2 times'),
        (lambda H, W: None, 'no tensor'),
    ],
    ids=['2-D', 'empty', 'float', 'beyond', 'negative', 'twice', 'None'],
)
def test_a_function_that_returns_no_order_is_an_error(function, message):
    with pytest.raises(
        ValueError, match=rf'scan order .*lambda.* gives {message}.* for a map of 3 x 5; allowed: \(S,\)'
    ):
        orders(['h', function], 3, 5)


@pytest.mark.parametrize(
    ('order', 'reason'),
    [
        (lambda tokens: tokens, TypeError),
        (lambda H, W: H // 0, ZeroDivisionError),
        ('os.path.join', TypeError),
    ],
    ids=['arity', 'raises', 'dotted name'],
)
def test_a_function_that_fails_says_why_and_what_is_allowed(order, reason):
    message = rf'scan order .* fails on a map of 3 x 5 \({reason.__name__}: .*\(H, W\) -> \(S,\) integers'
    with pytest.raises(ValueError, match=message) as error:
        orders(['h', order], 3, 5)
    assert isinstance(error.value.__cause__, reason)


@pytest.mark.parametrize(
    ('name', 'problem'),
    [
        ('nopkg.fn', "could not be imported .*No module named 'nopkg'"),
        ('os.nothing', "could not be imported .*no attribute 'nothing'"),
        ('my_failing_orders.order', r'could not be imported \(ZeroDivisionError'),
        ('math.pi', 'is a float, no function'),
    ],
    ids=['module', 'attribute', 'module that fails', 'no function'],
)
def test_a_dotted_name_that_is_no_function_says_why(name, problem, tmp_path, monkeypatch):
    (tmp_path / 'my_failing_orders.py').write_text('1 / 0')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=f"field.0.: scan order '{name}' {problem}.*; allowed: h, v"):
        scans.check_orders('field', [name])


@pytest.mark.parametrize('name', [*scans.CROSS_SCAN, *scans.ATROUS_SCAN, 'w3', 'w3_flip', 'atrous1_flip'])
def test_tables_are_made_where_they_are_wanted(name):
    assert scans.orders([name], 5, 7, 'meta').index.device.type == 'meta'


def test_lists_and_arrays_of_indices_are_orders_too():
    result = orders([lambda H, W: list(range(H * W)), lambda H, W: torch.arange(H * W).numpy()], 2, 3)
    assert result.index.tolist() == [list(range(6))] * 2


@pytest.fixture
def cache(monkeypatch):
    monkeypatch.setattr(scans, '_cache', scans._Cache())
    return scans._cache


def test_a_function_is_called_once_for_a_size(cache):
    calls = []

    def own(H, W):
        calls.append((H, W))
        return torch.arange(H * W)

    for names in ([own], ['h', own], [own, 'v'], [own]):
        orders(names, 3, 5)
        orders(names, 5, 3)
    assert calls == [(3, 5), (5, 3)]


def test_a_registered_order_is_like_a_built_in_one(cache, monkeypatch):
    monkeypatch.setitem(scans.ORDERS, 'own', spiral)
    assert orders(['own', 'own_flip'], 3, 5).index.tolist() == [spiral(3, 5).tolist(), spiral(3, 5).flip(0).tolist()]
    monkeypatch.setitem(scans.ORDERS, 'own', lambda H, W: [0])  # as in a notebook: the name means another function now
    assert orders(['own', 'own_flip'], 3, 5).index.tolist() == [[0], [0]]


def test_the_cache_is_bounded_in_bytes(cache, monkeypatch):
    monkeypatch.setattr(scans, 'CACHE_BYTES', 100_000)
    for size in range(2, 60):
        found = orders(CROSS_SCAN, size, size)
        assert cache.bytes <= 100_000
        assert orders(CROSS_SCAN, size, size).index is found.index
        assert torch.equal(found.index, scans.build(CROSS_SCAN, size, size).index)
    assert orders(CROSS_SCAN, 200, 200).index.shape == (4, 40_000)  # larger than the bound: made, and not kept
    assert cache.bytes == 0


def test_functions_of_the_moment_do_not_pile_up(cache, monkeypatch):
    monkeypatch.setattr(scans, 'CACHE_BYTES', 100_000)
    for _ in range(50):
        orders([lambda H, W: torch.arange(H * W)], 2, 2)
    assert len(cache._entries) <= 100_000 // 4096


def test_threads_with_many_sizes_get_what_one_gets(cache, monkeypatch):
    monkeypatch.setattr(scans, 'CACHE_BYTES', 60_000)
    wrong = []

    def work(seed):
        sizes = torch.randint(2, 20, (300, 2), generator=torch.Generator().manual_seed(seed)).tolist()
        try:
            wrong.extend(s for s in sizes if orders(['h', 'v'], *s).index[1, 1] != (s[1] if s[0] > 1 else 1))
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert cache.bytes == sum(entry[-1] for entry in cache._entries.values())


def _first_column():
    assert orders(['v'], 4, 3).index[0, :4].tolist() == [0, 3, 6, 9]


@pytest.mark.skipif('fork' not in multiprocessing.get_all_start_methods(), reason='no fork here')
def test_a_fork_while_the_cache_is_held_does_not_hang():
    with scans._cache._lock:
        child = multiprocessing.get_context('fork').Process(target=_first_column)
        child.start()
    child.join(60)
    assert child.exitcode == 0


@pytest.mark.parametrize('size', SIZES, ids=str)
@pytest.mark.parametrize(
    'names', [CROSS_SCAN, LOCAL_SCAN, ATROUS_SCAN, (spiral, 'w3')], ids=['v', 'w', 'atrous', 'own']
)
def test_remembered_routes_read_and_write_as_orders_do(names, size):
    routes, made = scans.derived(scans.routes, names, *size), orders(names, *size)
    x, y = torch.randn(2, made.num_tokens, 3), torch.randn(2, *made.index.shape, 3)
    assert torch.equal(scans.read_steps(x, routes), read(x, made).transpose(1, 2))
    assert torch.equal(scans.write_steps(y.transpose(1, 2), routes), write(y, made).transpose(1, 2))
    assert scans.derived(scans.routes, names, *size).places is routes.places
    assert not routes.whole or (routes.tokens < made.num_tokens).all()


def test_routes_without_padding_are_known_without_looking():
    assert scans.derived(scans.routes, LOCAL_SCAN, 14, 28).whole
    assert not scans.derived(scans.routes, LOCAL_SCAN, 14, 27).whole
    assert not scans.derived(scans.routes, ATROUS_SCAN, 1, 1).whole
    assert not scans.derived(scans.routes, [lambda H, W: torch.arange(H * W)], 2, 3).whole


def test_routes_made_in_inference_mode_serve_training():
    with torch.inference_mode():
        routes = scans.derived(scans.routes, ['w2', 'v'], 6, 10)
    x = torch.randn(1, 60, 2, requires_grad=True)
    scans.write_steps(scans.read_steps(x, routes), routes).sum().backward()
    assert torch.equal(x.grad, torch.full_like(x, 2.0))


def test_built_in_orders_are_kept_in_their_stacks_alone(cache):
    found = orders(LOCAL_SCAN, 14, 14)
    assert cache.bytes == 4096 + sum(part.numel() * 4 for part in (found.index, found.lengths))
