"""One official-format checkpoint a model, built from a golden case's names, goes every way that weights go."""

import pytest
import torch

from mmvssm import create_model
from mmvssm.registry import build
from mmvssm.weights.convert import same
from tests.golden_cases import ROOT, Case
from tests.tools.load import load

CASES = [Case(path) for path in sorted(ROOT.glob('*/*.json'))]


def is_classifier(case):
    """Whether a case is a named variant's classifier, its position embedding on a square grid as in published files."""
    if not case.spec.get('model') or 'logits' not in case.spec['outputs']:
        return False
    return case.spec['input']['shape'][2] == case.spec['input']['shape'][3] or 'img_size' not in case.spec['create']


# one case of each variant and layout
CLASSIFIERS = {(case.spec['model'], 'legacy' in str(case)): case for case in CASES if is_classifier(case)}
tool = load('weights')


@pytest.mark.slow
@pytest.mark.parametrize('case', CLASSIFIERS.values(), ids=str)
def test_an_official_checkpoint(case, tmp_path, capsys):
    name, create = case.spec['model'], case.spec['create']
    state = case.state_dict()
    if name.startswith('efficientvmamba'):
        content = {'state_dict': {f'module.module.{key}': value for key, value in state.items()}}
    elif name.startswith(('vmamba', 'vim')):
        content = {'model': state, 'epoch': 3}
    else:
        content = {'state_dict': state}
    torch.save(content, tmp_path / 'x.pth')

    model = create_model(name, pretrained=str(tmp_path / 'x.pth'), **create)
    some = next(key for key in state if key.endswith('.weight') and state[key].ndim == 2)
    own = [value for value in model.state_dict().values() if value.shape == state[some].shape]
    assert any(torch.equal(value, state[some]) for value in own)

    backbone = build(
        dict(
            type=type(model).__name__,
            arch=name,
            init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'x.pth')),
        )
    )
    backbone.init_weights()
    assert backbone.is_init

    assert tool.main(['info', str(tmp_path / 'x.pth')]) == 0
    assert name in capsys.readouterr().out.split('fits:')[1]

    assert tool.main(['convert', str(tmp_path / 'x.pth'), str(tmp_path / 'x.safetensors')]) == 0
    assert tool.main(['convert', str(tmp_path / 'x.safetensors'), str(tmp_path / 'back.pth')]) == 0
    assert same(torch.load(tmp_path / 'back.pth', weights_only=True), content)
    again = create_model(name, pretrained=str(tmp_path / 'x.safetensors'), **create)
    assert all(map(torch.equal, model.state_dict().values(), again.state_dict().values()))


def test_every_family_has_a_case():
    assert {case.path.parent.name for case in CLASSIFIERS.values()} == {case.path.parent.name for case in CASES}
