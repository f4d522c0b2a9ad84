"""Choice of the implementation: precedence, refusals and the one warning."""

import asyncio
import threading
import warnings

import pytest
import torch

from mmvssm.kernels import SlowKernelWarning, selective_scan, use_backend
from mmvssm.kernels.backend import default_backend
from tests.kernels.tables import resolve

CPU = torch.empty(0)
EVERYWHERE = {'numba': '', 'triton': 'triton runs on a GPU', 'blocked': '', 'reference': ''}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    monkeypatch.delenv('MMVSSM_BACKEND', raising=False)


def test_auto_takes_the_fastest():
    assert resolve('op', CPU, None, EVERYWHERE) == 'numba'


def test_call_outranks_context_outranks_environment(monkeypatch):
    monkeypatch.setenv('MMVSSM_BACKEND', 'reference')
    assert resolve('op', CPU, None, EVERYWHERE) == 'reference'
    with use_backend('blocked'):
        assert resolve('op', CPU, None, EVERYWHERE) == 'blocked'
        assert resolve('op', CPU, 'numba', EVERYWHERE) == 'numba'
    assert resolve('op', CPU, None, EVERYWHERE) == 'reference'


def test_a_default_that_an_operator_lacks_leaves_the_choice_to_it(monkeypatch):
    monkeypatch.setenv('MMVSSM_BACKEND', 'numba')
    assert resolve('op', CPU, None, {'blocked': '', 'reference': ''}) == 'blocked'


def test_contexts_nest_and_a_plain_call_stays():
    with use_backend('numba'):
        use_backend('blocked')
        with use_backend('reference'):
            assert default_backend() == 'reference'
        assert default_backend() == 'blocked'
    assert default_backend() == 'auto'


def in_thread(function):
    """function(), in another thread."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


def test_a_context_holds_in_its_thread_alone():
    def inside():
        with use_backend('reference'):
            return default_backend(), in_thread(default_backend)

    assert in_thread(inside) == inside() == ('reference', 'auto')


def test_a_context_of_one_thread_does_not_end_that_of_another():
    entered, left = threading.Event(), threading.Event()

    def longer():
        with use_backend('blocked'):
            entered.set()
            left.wait()
            return default_backend()

    def shorter():
        with use_backend('reference'):
            results.append(default_backend())

    results = []
    thread = threading.Thread(target=lambda: results.append(longer()))
    thread.start()
    entered.wait()
    in_thread(shorter)
    left.set()
    thread.join()
    assert results == ['reference', 'blocked']
    assert default_backend() == 'auto'


def test_a_plain_call_of_the_main_thread_is_every_threads_default():
    go = threading.Event()
    results = []
    earlier = threading.Thread(target=lambda: (go.wait(), results.append(default_backend())))
    earlier.start()
    with use_backend('auto'):  # undoes the plain call in the end
        use_backend('blocked')
        go.set()
        earlier.join()
        assert results == [default_backend()] == [in_thread(default_backend)] == ['blocked']
    assert in_thread(default_backend) == 'auto'


def test_a_plain_call_of_another_thread_is_its_own():
    assert in_thread(lambda: (use_backend('reference'), default_backend())[1]) == 'reference'
    assert default_backend() == in_thread(default_backend) == 'auto'


def test_tasks_of_one_thread_do_not_share_a_context():
    async def task(name):
        with use_backend(name):
            await asyncio.sleep(0)
            return default_backend()

    async def both():
        return await asyncio.gather(task('reference'), task('blocked'))

    assert asyncio.run(both()) == ['reference', 'blocked']
    assert default_backend() == 'auto'


def test_backward_stays_with_the_forwards_choice(monkeypatch):
    """Wherever autograd runs it: the numba kernel's states are no use to another backend."""
    pytest.importorskip('numba')
    from mmvssm.kernels.selective_scan import numba_launch

    calls = []
    real = numba_launch.backward
    monkeypatch.setattr(numba_launch, 'backward', lambda *args: calls.append(1) or real(*args))
    x = torch.ones(1, 5, 3, requires_grad=True)
    with use_backend('numba'):
        y = scan(x)
    calls.clear()  # the self-check's
    with use_backend('reference'):
        in_thread(y.sum().backward)
    assert calls == [1]
    wanted = torch.autograd.grad(scan(x, backend='reference').sum(), x)
    torch.testing.assert_close(x.grad, *wanted)


def scan(x, **options):
    states = torch.ones(1, 5, 2, 2)
    return selective_scan(x, torch.ones(1, 5, 2, 3), -torch.ones(2, 3, 2), states, states, **options)


@pytest.mark.parametrize('where', ['around', 'inside'])
def test_compiled_code_follows_the_choice(where):
    used = []

    def collect(graph, example_inputs):
        used.append('mmvssm' if any('mmvssm' in str(node.target) for node in graph.graph.nodes) else 'plain')
        return graph.forward

    def inside(x, name):
        with use_backend(name):
            return scan(x)

    def around(x, name):
        with use_backend(name):
            return compiled(x)

    torch._dynamo.reset()
    compiled = torch.compile(scan if where == 'around' else inside, fullgraph=True, backend=collect)
    run = around if where == 'around' else compiled
    for name in ('auto', 'reference', 'auto'):
        torch.testing.assert_close(run(torch.ones(1, 5, 3), name), scan(torch.ones(1, 5, 3), backend='reference'))
    assert used == ['mmvssm', 'plain']
    assert default_backend() == 'auto'


def test_slow_fallback_warns_once_with_the_reason():
    available = {**EVERYWHERE, 'numba': 'numba is missing in this test'}
    with pytest.warns(SlowKernelWarning, match=r"'blocked': numba is missing in this test.*'numba' would be"):
        assert resolve('op', CPU, 'auto', available) == 'blocked'
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        resolve('op', CPU, 'auto', available)


def test_no_warning_where_blocked_is_the_best_there_is():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert resolve('op', CPU, 'auto', {'blocked': '', 'reference': ''}) == 'blocked'


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: resolve('op', CPU, 'cuda', EVERYWHERE), r"backend='cuda'.*allowed: auto, reference, blocked"),
        (lambda: resolve('op', CPU, 'triton', EVERYWHERE), 'op cannot use it here: triton runs on a GPU'),
        (lambda: resolve('op', CPU, 'numba', {'blocked': ''}), 'op has no such backend; allowed: auto, blocked'),
        (lambda: use_backend('fast'), r"backend='fast'.*allowed"),
    ],
    ids=['unknown', 'cannot run', 'not of this operator', 'unknown in use_backend'],
)
def test_refusals_say_what_is_allowed(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_bad_environment_variable_is_named(monkeypatch):
    monkeypatch.setenv('MMVSSM_BACKEND', 'fast')
    with pytest.raises(ValueError, match=r"MMVSSM_BACKEND='fast'.*allowed"):
        default_backend()
