"""Derivatives of whole models beyond one backward pass: per-sample gradients, forward mode, gradient penalties."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, jvp, vmap

import mmvssm

FAMILIES = pytest.mark.parametrize(
    'name', [name for name in mmvssm.list_models('test_*') if not name.startswith('test_local')]
)
SIZE = 40, 24  # not the size of the tables that are learned


def make(name):
    """A micro model in float64, none of its parameters zero, as a function of parameters and images."""
    torch.manual_seed(0)
    net = mmvssm.create_model(name, num_classes=5).double().eval()
    for p in net.parameters():
        torch.nn.init.normal_(p, p.detach().mean().item(), 0.02 + p.detach().std(correction=0).item())
    parameters = {k: p.detach() for k, p in net.named_parameters()}
    return net, lambda parameters, x: functional_call(net, parameters, (x,)), parameters


def loss(f):
    return lambda parameters, x, label: F.cross_entropy(f(parameters, x[None]), label[None])


@FAMILIES
def test_per_sample_gradients(name):
    net, f, parameters = make(name)
    x, label = torch.randn(2, 3, *SIZE, dtype=torch.float64), torch.tensor([1, 4])
    found = vmap(grad(loss(f)), in_dims=(None, 0, 0))(parameters, x, label)
    for i in range(len(x)):
        net.zero_grad()
        F.cross_entropy(net(x[i : i + 1]), label[i : i + 1]).backward()
        for key, p in net.named_parameters():
            torch.testing.assert_close(found[key][i], p.grad, rtol=1e-7, atol=1e-10)


def test_activation_checkpointing_is_left_out():
    """torch.func cannot compute again, and says so in words of its own."""
    net, f, parameters = make('test_vim')
    x, label = torch.randn(3, *SIZE, dtype=torch.float64), torch.tensor(1)
    expected = grad(loss(f))(parameters, x, label)
    net.train().set_grad_checkpointing()
    found = grad(loss(f))(parameters, x, label)
    assert all(torch.equal(found[key], value) for key, value in expected.items())


@FAMILIES
def test_forward_mode(name):
    _, f, parameters = make(name)
    x, step = torch.randn(1, 3, *SIZE, dtype=torch.float64), 1e-6
    direction = {k: torch.randn_like(p) * p.abs() for k, p in parameters.items()}
    found = jvp(lambda p: f(p, x), (parameters,), (direction,))[1]
    ends = (f({k: p + sign * step * direction[k] for k, p in parameters.items()}, x) for sign in (1, -1))
    expected = (next(ends) - next(ends)) / (2 * step)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


@FAMILIES
def test_gradient_penalty(name):
    """Reverse over reverse, as in training, against forward over reverse."""
    net, f, parameters = make(name)
    x = torch.randn(1, 3, *SIZE, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(net(x).sin().sum(), x, create_graph=True)
    found = torch.autograd.grad((slope * x.detach().cos()).sum(), list(net.parameters()), allow_unused=True)
    along = lambda x: grad(lambda p: f(p, x).sin().sum())(parameters)  # noqa: E731
    expected = jvp(along, (x.detach(),), (x.detach().cos(),))[1]
    for (key, p), got in zip(net.named_parameters(), found):
        got = torch.zeros_like(p) if got is None else got
        torch.testing.assert_close(got, expected[key], rtol=1e-7, atol=1e-9, msg=lambda m, key=key: f'{key}: {m}')
