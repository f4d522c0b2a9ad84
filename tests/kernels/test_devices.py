"""Devices that nobody proved a kernel on: plain PyTorch, with the warning, in a precision that they have.

Apple's and Intel's devices are not here: fake tensors stand for them, and the meta device for one without float64.
"""

import warnings

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmvssm.kernels import (
    SlowKernelWarning,
    backend,
    mlstm,
    precision,
    resize_spectral_weight,
    selective_scan,
    spectral_filter,
)
from mmvssm.kernels.backend import no_autocast, no_triton
from mmvssm.kernels.mlstm import blocked
from mmvssm.kernels.mlstm.gates import gate_gradients, gate_terms
from mmvssm.kernels.spectral import fft
from tests.kernels.tables import resolve


class NoFloat64(TorchDispatchMode):
    """Refuses what a device without float64 would."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **kwargs or {})
        for z in tree_leaves(result):
            if isinstance(z, torch.Tensor) and z.device.type != 'cpu' and z.dtype in (torch.float64, torch.complex128):
                raise TypeError(f'{func} makes {z.dtype} on {z.device.type}')
        return result


@pytest.fixture
def no_float64(monkeypatch):
    """The meta device stands for one without float64."""
    monkeypatch.setattr(precision, 'HAVE_FLOAT64', ('cpu',))
    monkeypatch.setattr(precision, '_try_float64', lambda device: False)
    with NoFloat64():
        yield


@pytest.fixture
def there(monkeypatch):
    """`there(device)`: a tensor on a device that is not here."""
    monkeypatch.setattr(backend, '_warned', set())
    with FakeTensorMode():
        yield lambda device: torch.empty(2, device=device)


@pytest.mark.parametrize('device', ['mps', 'xpu'])
@pytest.mark.parametrize('op', ['selective_scan', 'mlstm'])
def test_blocked_with_the_warning(there, op, device):
    x = there(device)
    available = {'triton': no_triton(x), 'blocked': '', 'reference': ''}
    with pytest.warns(SlowKernelWarning, match=f"{op} runs on 'blocked', plain PyTorch and slow.* on {device} devices"):
        assert resolve(op, x, None, available) == 'blocked'
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert resolve(op, x, None, available) == 'blocked'
        with no_autocast(x):
            pass


def test_triton_may_be_tried_on_xpu_and_on_nothing_else(there):
    assert not no_triton(there('xpu'))
    assert no_triton(there('mps')) == 'triton runs on a GPU (or with TRITON_INTERPRET=1), the input is on mps'


@pytest.mark.parametrize('operator', ['scan', 'cell', 'filter'])
def test_one_rule_for_a_backend_that_cannot_run(operator):
    """An explicit name is refused by every operator that has no such kernel here."""
    gates = [torch.empty(1, 3, 2)] * 2
    states = torch.empty(1, 3, 2, 4)
    run = {
        'scan': lambda: selective_scan(torch.empty(1, 3, 4), states, -torch.ones(2, 4, 4), states, states, **triton),
        'cell': lambda: mlstm(*[torch.empty(1, 3, 2, 4)] * 3, *gates, **triton),
        'filter': lambda: spectral_filter(torch.empty(1, 3, 2, 4), torch.empty(4, 3, 2), **triton),
    }[operator]
    triton = dict(backend='triton')
    with pytest.raises(ValueError, match=r"backend='triton': .*(cannot use it here: triton runs|has no such backend)"):
        run()


@pytest.mark.parametrize('reverse', [False, True])
def test_mlstm_without_float64(no_float64, reverse):
    q, k, v, dh = (torch.empty(1, 300, 2, 8, device='meta') for _ in range(4))
    igate, fgate = (torch.empty(1, 300, 2, device='meta') for _ in range(2))
    options = dict(reverse=reverse, chunk_size=128, eps=1e-6)
    gates = gate_terms(igate, fgate, reverse=reverse)
    h, normaliser = blocked.forward(q, k, v, gates, **options)
    *direct, d_log_f, k_dk, dm = blocked.backward(dh, q, k, v, h, normaliser, gates, **options)
    through = gate_gradients(d_log_f, k_dk, dm, gates, fgate, reverse=reverse)
    assert {z.dtype for z in (h, *direct, *through)} == {torch.float32}


@pytest.mark.parametrize('transform', ['dct', 'hartley'])
def test_spectral_filter_without_float64(no_float64, transform):
    x, weight = torch.empty(1, 6, 9, 2, device='meta'), torch.empty(2, 4, 5, device='meta')
    assert spectral_filter(x, weight, transform=transform, backend='reference').dtype == torch.float32
    assert fft.inverse(fft.forward(x, transform), transform).dtype == torch.float32
    for mode in ('linear', 'trig', 'index'):
        assert resize_spectral_weight(weight, (6, 9), transform, mode).device.type == 'meta'


def test_blocked_scan_without_float64(no_float64):
    x, dt, A, B = (torch.empty(s, device='meta') for s in [(2, 5, 3), (2, 5, 2, 3), (2, 3, 4), (2, 5, 2, 4)])
    assert selective_scan(x, dt, A, B, B, backend='blocked').dtype == torch.float32


def test_float32_gates_are_close(monkeypatch):
    """What a device without float64 computes, on one that has it to compare with."""
    monkeypatch.setattr(precision, 'HAVE_FLOAT64', ())
    monkeypatch.setattr(precision, '_try_float64', lambda device: False)
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.rand(1, 300, 2, 8, generator=generator) for _ in range(3)]
    inputs += [torch.randn(1, 300, 2, generator=generator) for _ in range(2)]
    leaves = [z.requires_grad_() for z in inputs]
    found = mlstm(*leaves, backend='blocked')
    wanted = mlstm(*[z.double() for z in leaves], backend='reference')
    torch.testing.assert_close(found.double(), wanted, rtol=1e-3, atol=1e-4)
    grads = torch.autograd.grad(found.sum(), leaves)
    for grad, exact in zip(grads, torch.autograd.grad(wanted.sum(), leaves)):
        torch.testing.assert_close(grad, exact, rtol=2e-2, atol=1e-3)


def test_a_device_is_asked_whether_it_has_float64():
    assert precision.widest(torch.device('cpu')) == precision.widest(torch.device('cuda')) == torch.float64
    assert precision._try_float64('cpu')
    assert not precision._try_float64('meta')
    assert precision.table_device(None) is None
