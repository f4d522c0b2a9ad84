"""Every published output in the golden folder, reproduced; nothing about a case is known here but its own files."""

import importlib

import pytest
import torch

from mmvssm.backbones import create_model, load_weights
from mmvssm.backbones._loading import NoValues
from mmvssm.kernels import use_backend
from tests.golden_cases import ROOT, find_cases

CASES = find_cases()
MODELS = [case for case in CASES if not case.is_operator]
OPERATORS = [case for case in CASES if case.is_operator]


@pytest.fixture(params=['auto', *(pytest.param(name, marks=pytest.mark.slow) for name in ('blocked', 'reference'))])
def backend(request):
    with use_backend(request.param):
        yield request.param


def official(case):
    """The module that turns this family's official constructor arguments into this project's model."""
    return importlib.import_module(f'tests.official.{case.spec["family"]}')


class NoDraws(NoValues):
    """Leaves memory as it is where a constructor would draw random values; the case's values take their place."""

    writers = NoValues.draws


def build(case) -> torch.nn.Module:
    with NoDraws():
        model = official(case).build(case.spec).to(case.dtype)
    state = {k: v.to(case.dtype) if v.is_floating_point() else v for k, v in case.state_dict().items()}
    if hasattr(official(case), 'to_own_names'):
        state = official(case).to_own_names(state, model)
    report = load_weights(model, state, log=False)
    omitted = set(case.spec.get('omitted_keys', ()))
    unused = [key for key in report.dropped if not key.startswith(model.head_prefixes)]
    assert not unused, f'keys of the case that were not used: {unused}'
    assert set(report.expected_missing) <= omitted | set(model.state_dict()), report.expected_missing
    return model.train(case.spec['mode'] == 'train')


def outputs_of(model, x) -> dict[str, torch.Tensor]:
    out = model(x)
    return {f'feat{i}': o for i, o in enumerate(out)} if isinstance(out, list | tuple) else {'logits': out}


def gradients_of(case, model, x, outputs, names) -> dict[str, torch.Tensor]:
    """Gradients under the official names: the official key of a parameter is found through its filled value."""
    case.weighted_sum(outputs).backward()
    lookup = official(case).parameter if hasattr(official(case), 'parameter') else _by_name
    return {
        name: x.grad if name == 'grad_input' else lookup(model, name.removeprefix('grad:'), 'grad') for name in names
    }


def _by_name(model, key: str, attribute: str) -> torch.Tensor:
    return getattr(model.get_parameter(key), attribute)


def test_there_are_cases():
    assert CASES, f'no golden case in {ROOT}'


@pytest.mark.parametrize('case', MODELS, ids=str)
def test_model(case, backend):
    torch.manual_seed(0)
    model = build(case)
    gradients = [name for name in case.spec['outputs'] if name.startswith('grad')]
    x = case.input().requires_grad_(bool(gradients))
    with torch.set_grad_enabled(bool(gradients)):
        outputs = outputs_of(model, x)
    if gradients:
        outputs.update(gradients_of(case, model, x, outputs, gradients))
    assert set(outputs) == set(case.spec['outputs'])
    wrong = [message for name, value in outputs.items() if (message := case.check(name, value))]
    assert not wrong, '\n'.join(wrong)


@pytest.mark.parametrize('case', OPERATORS, ids=str)
def test_operator(case, backend):
    outputs = official(case).run_op(case)
    assert set(outputs) == set(case.spec['outputs'])
    wrong = [message for name, value in outputs.items() if (message := case.check(name, value))]
    assert not wrong, '\n'.join(wrong)


@pytest.mark.parametrize('case', [c for c in MODELS if c.spec['model']], ids=str)
def test_named_variant_is_the_published_one(case):
    """`create_model` of the case's name has the case's keys (but tables the file may omit) and parameter count."""
    with torch.device('meta'):
        model = create_model(case.spec['model'], **case.spec['create'])
        published = official(case).build(case.spec)
    shapes = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    assert shapes == {k: tuple(v.shape) for k, v in published.state_dict().items()}
    count = sum(p.numel() for p in model.parameters()) / 1e6
    assert count == pytest.approx(case.spec['params_m'], abs=5e-5)  # some cases give four decimals
