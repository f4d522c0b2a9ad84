"""Choice of the implementation: precedence, refusals and the one warning."""

import warnings

import pytest
import torch

from mmvssm.kernels import SlowKernelWarning, use_backend
from mmvssm.kernels.backend import default_backend, resolve

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
