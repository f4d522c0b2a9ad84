"""The operators' tables, and implementations from outside."""

from pathlib import Path

import pytest
import torch

from mmvssm.kernels import causal_conv, register, use_backend
from mmvssm.kernels.operators import OPERATORS, backend_names

KERNELS = Path(__file__).parents[2] / 'kernels'
FILES = {'__init__.py', 'function.py', 'op.py', 'reference.py', 'blocked.py'}


def twice(x, weight, bias, reverse):
    return 2 * x


def test_every_operator_has_the_same_files():
    folders = {path.parent for path in KERNELS.glob('*/function.py')}
    names = {'causal_conv', 'gated_norm', 'mlstm', 'pooled_norm', 'selective_scan', 'spectral'}
    assert {folder.name for folder in folders} == names
    assert [folder.name for folder in folders if not {path.name for path in folder.glob('*.py')} >= FILES] == []


@pytest.mark.parametrize('name', OPERATORS)
def test_compiled_kernels_stand_in_files_called_by_their_backend(name):
    for each in OPERATORS[name].implementations:
        assert not each.compiled or list((KERNELS / name).glob(f'{each.name}_launch.py'))


def test_a_peer_is_an_implementation_for_a_while():
    x, weight = torch.randn(1, 3, 2), torch.randn(2, 1, 4)
    with register('causal_conv', 'twice', twice):
        assert torch.equal(causal_conv(x, weight, None, backend='twice'), 2 * x)
        with use_backend('twice'):
            assert torch.equal(causal_conv(x, weight, None), 2 * x)
        assert not torch.equal(causal_conv(x, weight, None), 2 * x), 'auto never takes it'
    assert 'twice' not in backend_names()
    with pytest.raises(ValueError, match=r"backend='twice' is not supported; allowed: auto, "):
        causal_conv(x, weight, None, backend='twice')


@pytest.mark.parametrize(
    ('operator', 'name', 'message'),
    [
        ('scan', 'loop', "operator='scan' is not known; allowed: .*selective_scan"),
        ('mlstm', 'blocked', "name='blocked': mlstm has an implementation of that name"),
    ],
)
def test_a_wrong_registration_is_refused(operator, name, message):
    with pytest.raises(ValueError, match=message):
        register(operator, name, twice)
