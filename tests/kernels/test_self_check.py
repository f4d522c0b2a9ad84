"""The self-check of compiled kernels, by deliberately wrong ones; and what happens where one cannot run at all."""

import re
import threading
import warnings
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mmvssm.kernels import SlowKernelWarning, backend, mlstm, selective_scan, self_check
from mmvssm.kernels.mlstm import blocked
from mmvssm.kernels.operators import OPERATORS
from mmvssm.kernels.selective_scan import check as scan_check
from mmvssm.kernels.self_check import SelfCheckError

pytest.importorskip('numba')
from mmvssm.kernels.selective_scan import numba_launch

CPU = torch.device('cpu')


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """Nothing is known of any kernel yet; the folder that notes go to."""
    monkeypatch.setattr(self_check, '_verdicts', {})
    monkeypatch.setattr(self_check, '_given_up', {})
    monkeypatch.setattr(self_check, '_import_errors', {})
    monkeypatch.setattr(backend, '_warned', set())
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.delenv('MMVSSM_SELF_CHECK', raising=False)
    monkeypatch.delenv('MMVSSM_BACKEND', raising=False)
    return tmp_path / 'mmvssm/self_check'


@pytest.fixture
def runs(monkeypatch):
    """The dtypes that a check was made in, one entry a check."""
    made = []
    kernels = OPERATORS['selective_scan']

    def errors(module, device, dtype, gradients):
        made.append((dtype, gradients))
        return kernels.errors(module, device, dtype, gradients)

    monkeypatch.setitem(OPERATORS, 'selective_scan', replace(kernels, errors=errors))
    return made


def inputs(gradients=False, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, 5, 3), (1, 5, 2, 3), (2, 3, 2), (1, 5, 2, 2), (1, 5, 2, 2)]
    x, dt, A, B, C = (torch.rand(shape, generator=generator, dtype=dtype) for shape in shapes)
    return [z.requires_grad_(gradients) for z in (x, dt, -A, B, C)]


def changed(function, change):
    """`function` with `change` done to each tensor that it returns."""

    def wrong(*args):
        return tuple(change(z) if z is not None and z.numel() else z for z in function(*args))

    return wrong


WRONG = {
    'slightly': lambda z: z * 1.001,
    'one element': lambda z: z.flatten().index_add(0, torch.tensor([3]), torch.ones(1).to(z)).view(z.shape),
    'NaN': lambda z: torch.where(torch.arange(z.shape[-1]) == 1, float('nan'), z),
}


@pytest.mark.parametrize('change', WRONG.values(), ids=WRONG)
@pytest.mark.parametrize('chosen', ['auto', 'numba'])
def test_a_wrong_forward_kernel_gives_way(monkeypatch, change, chosen):
    monkeypatch.setattr(numba_launch, 'forward', changed(numba_launch.forward, change))
    with pytest.warns(SlowKernelWarning, match=r"'blocked': its numba kernel gives wrong numbers on .* y .*report"):
        y = selective_scan(*inputs(), backend=chosen)
    torch.testing.assert_close(y, selective_scan(*inputs(), backend='reference'))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        selective_scan(*inputs(), backend=chosen)


def test_wrong_gradients_give_way_once_gradients_are_wanted(monkeypatch):
    monkeypatch.setattr(numba_launch, 'backward', changed(numba_launch.backward, WRONG['slightly']))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        selective_scan(*inputs())
    tensors = inputs(gradients=True)
    with pytest.warns(SlowKernelWarning, match='wrong numbers .* x .*dt_weight'):
        y = selective_scan(*tensors)
    wanted = torch.autograd.grad(selective_scan(*tensors, backend='reference').sum(), tensors)
    for found, grad in zip(torch.autograd.grad(y.sum(), tensors), wanted):
        torch.testing.assert_close(found, grad)


def test_the_message_names_machine_and_versions(monkeypatch):
    monkeypatch.setattr(numba_launch, 'forward', changed(numba_launch.forward, WRONG['slightly']))
    reason = self_check.trouble('selective_scan', 'numba', CPU, torch.float32, False)
    for word in (self_check._machine('numba', CPU), torch.__version__, 'numba 0', 'Python 3', 'kernels ', 'float32'):
        assert word in reason


ERRORS = [ImportError('no symbol'), SystemError('odd'), RuntimeError('LLVM ERROR'), KeyError('x'), OSError(28, 'full')]


@pytest.mark.parametrize('error', ERRORS, ids=lambda error: type(error).__name__)
def test_a_kernel_that_raises_gives_way(monkeypatch, error):
    def fail(*args):
        raise error

    monkeypatch.setattr(numba_launch, 'forward', fail)
    with pytest.warns(SlowKernelWarning, match=f'numba kernel fails on .*{type(error).__name__}'):
        y = selective_scan(*inputs())
    torch.testing.assert_close(y, selective_scan(*inputs(), backend='reference'))


def test_error_mode_raises_each_time(monkeypatch):
    monkeypatch.setenv('MMVSSM_SELF_CHECK', 'error')
    monkeypatch.setattr(numba_launch, 'forward', changed(numba_launch.forward, WRONG['NaN']))
    for _ in range(2):
        with pytest.raises(SelfCheckError, match='wrong numbers'):
            selective_scan(*inputs())


def test_off_checks_nothing(monkeypatch, runs):
    monkeypatch.setenv('MMVSSM_SELF_CHECK', 'off')
    monkeypatch.setattr(numba_launch, 'forward', changed(numba_launch.forward, WRONG['slightly']))
    y = selective_scan(*inputs())
    torch.testing.assert_close(y / 1.001, selective_scan(*inputs(), backend='reference'))
    assert not runs


def test_unknown_mode_names_what_is_allowed(monkeypatch):
    monkeypatch.setenv('MMVSSM_SELF_CHECK', 'no')
    with pytest.raises(ValueError, match=r"MMVSSM_SELF_CHECK='no'.*warn, error, off"):
        selective_scan(*inputs())


def test_once_for_each_dtype_and_for_gradients(runs):
    for _ in range(2):
        selective_scan(*inputs())
        selective_scan(*inputs(gradients=True))
        selective_scan(inputs()[0].half(), *inputs()[1:])  # computed in float32
    assert runs == [(torch.float32, False), (torch.float32, True)]


def test_what_passed_is_noted_for_the_next_process(monkeypatch, cache, runs):
    selective_scan(*inputs())
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(self_check, '_verdicts', {})
    selective_scan(*inputs())
    assert len(runs) == 1


def test_what_failed_is_not_noted(monkeypatch, cache):
    monkeypatch.setattr(numba_launch, 'forward', changed(numba_launch.forward, WRONG['NaN']))
    with pytest.warns(SlowKernelWarning):
        selective_scan(*inputs())
    assert not cache.exists()


def test_a_replaced_kernel_is_checked_in_spite_of_a_note(monkeypatch):
    selective_scan(*inputs())
    monkeypatch.setattr(numba_launch, 'forward', changed(numba_launch.forward, WRONG['slightly']))
    with pytest.warns(SlowKernelWarning, match='wrong numbers'):
        selective_scan(*inputs())


@pytest.mark.parametrize('version', ['torch', 'numba', 'sources'])
def test_other_versions_are_checked_anew(monkeypatch, runs, version):
    selective_scan(*inputs())
    monkeypatch.setattr(self_check, '_verdicts', {})
    if version == 'sources':
        monkeypatch.setattr(self_check, '_sources_digest', lambda: 'other')
    else:
        monkeypatch.setattr(f'{version}.__version__', '99')
    selective_scan(*inputs())
    assert len(runs) == 2


@pytest.mark.parametrize('place', ['a file', 'no home', 'unreadable sources'])
def test_works_where_nothing_can_be_noted(monkeypatch, tmp_path, runs, place):
    if place == 'a file':
        (tmp_path / 'mmvssm').write_text('')
    elif place == 'no home':
        monkeypatch.delenv('XDG_CACHE_HOME')
        monkeypatch.setattr('pathlib.Path.home', lambda: (_ for _ in ()).throw(RuntimeError('no home')))
    else:
        monkeypatch.setattr(self_check, '_sources_digest', lambda: '')
    for _ in range(2):
        selective_scan(*inputs())
    assert len(runs) == 1


def test_leaves_no_trace(runs):
    """Random numbers, counts of operations, modes: the first call is like any other."""
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with FlopCounterMode(display=False) as first:
        selective_scan(*inputs())
    with FlopCounterMode(display=False) as second:
        selective_scan(*inputs())
    assert len(runs) == 1
    assert first.get_total_flops() == second.get_total_flops()
    assert torch.equal(torch.get_rng_state(), before)


MODES = {
    'inference mode': torch.inference_mode,
    'autocast': lambda: torch.autocast('cpu', torch.bfloat16),
    'meta as the default device': lambda: torch.device('meta'),
    'no gradients': torch.no_grad,
    'saved tensors go nowhere': lambda: torch.autograd.graph.saved_tensors_hooks(lambda z: None, lambda z: z),
}


@pytest.mark.parametrize('mode', MODES.values(), ids=MODES)
def test_modes_of_the_caller_do_not_reach_it(mode):
    with mode():
        assert self_check.trouble('selective_scan', 'numba', CPU, torch.float32, True) == ''


@pytest.fixture
def settings():
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    torch.use_deterministic_algorithms(False)


def test_global_settings_do_not_reach_it(settings):
    torch.set_default_dtype(torch.bfloat16)
    torch.set_default_device('meta')
    torch.use_deterministic_algorithms(True)
    for dtype in (torch.float32, torch.float64):
        assert self_check.trouble('selective_scan', 'numba', CPU, dtype, True) == ''


def test_the_first_call_compiles_whole(runs):
    torch._dynamo.reset()
    compiled = torch.compile(lambda *z: selective_scan(*z), fullgraph=True, backend='eager')
    torch.testing.assert_close(compiled(*inputs()), selective_scan(*inputs(), backend='reference'))
    assert len(runs) == 1


def test_many_threads_check_once(runs):
    barrier, found = threading.Barrier(6), []

    def work():
        barrier.wait()
        found.append(selective_scan(*inputs()))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(runs) == 1


@pytest.mark.parametrize('error', [MemoryError(), torch.OutOfMemoryError('CUDA out of memory')], ids=['host', 'GPU'])
def test_short_memory_says_nothing_of_a_kernel(monkeypatch, error):
    kernels = OPERATORS['selective_scan']

    def errors(*args):
        raise error

    monkeypatch.setitem(OPERATORS, 'selective_scan', replace(kernels, errors=errors))
    assert self_check.trouble('selective_scan', 'numba', CPU, torch.float32, False) == ''
    assert not self_check._verdicts


def test_goes_on_unchecked_where_no_thread_starts(monkeypatch):
    def fail(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, 'start', fail)
    assert self_check.trouble('selective_scan', 'numba', CPU, torch.float32, False) == ''
    assert not self_check._verdicts


# A kernel that passes and fails later


def test_a_launch_that_fails_later_gives_way_for_good(monkeypatch):
    monkeypatch.setenv('MMVSSM_SELF_CHECK', 'off')
    calls = []

    def fail(*args):
        calls.append(1)
        raise OSError('ptxas is missing')

    monkeypatch.setattr(numba_launch, 'forward', fail)
    with pytest.warns(SlowKernelWarning, match=r"'blocked': its numba kernel fails .*OSError: ptxas is missing"):
        y = selective_scan(*inputs())
    torch.testing.assert_close(y, selective_scan(*inputs(), backend='reference'))
    selective_scan(*inputs())
    assert len(calls) == 1


def test_a_backward_launch_that_fails_gives_way(monkeypatch):
    def fail(*args):
        raise OSError('ptxas is missing')

    monkeypatch.setenv('MMVSSM_SELF_CHECK', 'off')
    tensors = inputs(gradients=True)
    wanted = torch.autograd.grad(selective_scan(*tensors, backend='reference').sum(), tensors)
    y = selective_scan(*tensors)
    monkeypatch.setattr(numba_launch, 'backward', fail)
    with pytest.warns(SlowKernelWarning, match='ptxas is missing'):
        grads = torch.autograd.grad(y.sum(), tensors)
    for found, grad in zip(grads, wanted, strict=True):
        torch.testing.assert_close(found, grad)


def test_mlstm_gives_way_in_both_passes(monkeypatch):
    """A stand-in for the Triton kernels: the forward pass is theirs, the backward pass fails."""
    calls = []

    class Module:
        @staticmethod
        def chunk_size_for(length, dim, chosen):
            return 16

        @staticmethod
        def forward(*args, **options):
            calls.append('forward')
            return blocked.forward(*args, **options)

        @staticmethod
        def backward(*args, **options):
            calls.append('backward')
            raise RuntimeError('Triton Error [CUDA]: device kernel image is invalid')

    monkeypatch.setenv('MMVSSM_SELF_CHECK', 'off')
    monkeypatch.setenv('TRITON_INTERPRET', '1')
    monkeypatch.setattr(backend, 'import_module', lambda *args: Module)
    leaves = [torch.rand(s, requires_grad=True) for s in [(1, 5, 2, 4)] * 3 + [(1, 5, 2)] * 2]
    wanted = torch.autograd.grad(mlstm(*leaves, backend='reference').sum(), leaves)
    h = mlstm(*leaves, backend='triton')
    with pytest.warns(SlowKernelWarning, match='image is invalid'):
        grads = torch.autograd.grad(h.sum(), leaves)
    mlstm(*leaves, backend='triton')
    assert calls == ['forward', 'backward']
    for found, grad in zip(grads, wanted, strict=True):
        torch.testing.assert_close(found, grad, rtol=1e-4, atol=1e-5)


def test_the_first_call_may_be_inside_a_transform(runs):
    tensors = inputs()
    grad = torch.func.grad(lambda x: selective_scan(x, *tensors[1:]).sum())(tensors[0])
    assert runs == [(torch.float32, True)]
    assert grad.isfinite().all()


@pytest.mark.parametrize(
    'error',
    [
        ValueError('Pointer argument cannot be accessed from Triton (cpu tensor?)'),
        torch.OutOfMemoryError('CUDA out of memory'),
        RuntimeError('Triton Error [CUDA]: an illegal memory access was encountered'),
        RuntimeError('CUDA error: device-side assert triggered'),
    ],
    ids=['arguments', 'memory', 'lost by a launch', 'lost'],
)
def test_other_errors_stay_errors(monkeypatch, error):
    def fail(*args):
        raise error

    monkeypatch.setenv('MMVSSM_SELF_CHECK', 'off')
    monkeypatch.setattr(numba_launch, 'forward', fail)
    with pytest.raises(type(error), match=re.escape(str(error))):
        selective_scan(*inputs())


# Triton, without a GPU


def _scan_errors(gradients):
    from mmvssm.kernels.selective_scan import triton_launch

    return scan_check.errors(triton_launch, CPU, torch.float32, gradients)


def _mlstm_errors(dtype):
    from mmvssm.kernels.mlstm import check, triton_launch

    return check.errors(triton_launch, CPU, dtype, True)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_mlstm_problem_is_passed(interpreted, dtype):
    errors = interpreted(_mlstm_errors, dtype)
    assert set(errors) == {'h', 'q', 'k', 'v', 'igate', 'fgate'}
    assert all(error <= self_check.LIMITS[dtype] / 2 for error in errors.values()), errors


def test_scan_problem_is_passed(interpreted):
    errors = interpreted(_scan_errors, True)
    assert set(errors) == {'y', *scan_check.NAMES}
    assert all(error <= self_check.LIMITS[torch.float32] / 2 for error in errors.values()), errors
