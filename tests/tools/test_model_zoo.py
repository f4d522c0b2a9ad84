"""`tools/model_zoo.py` and the page that it writes."""

import re

import pytest

from mmvssm import list_models, weights
from mmvssm.weights import zoo
from tests.tools.load import load

tool = load('model_zoo')

NAMES = [name for name in list_models() if not name.startswith('test_')]
PAGE = zoo.page(dict.fromkeys(NAMES, (1.0, 2.0)))


def row(name):
    return next(line for line in PAGE.splitlines() if line.startswith(f'| `{name}` | 1.00 M'))


def test_every_variant_has_one_row():
    assert sorted(re.findall(r'^\| `(\w+)` \| 1\.00 M', PAGE, re.M)) == NAMES


def test_every_checkpoint_is_linked():
    for checkpoint in weights.list_checkpoints():
        assert f'[`{checkpoint.name}`]({checkpoint.url})' in PAGE


@pytest.mark.parametrize(
    ('name', 'says'),
    [
        ('vmamba_tiny_s1l8', 'top-1 82.6 | weights published'),
        ('localvmamba_tiny', 'top-1 82.7 | weights never released | never released'),
        ('heracles_huge', '- | architecture only | -'),
        ('vim_tiny', 'top-1 76.1, top-5 93.0'),
    ],
)
def test_states_are_honest(name, says):
    assert says in row(name)


def test_unverified_figures_keep_their_mark():
    lines = [line for line in PAGE.splitlines() if '| ADE20K |' in line and 'localvmamba' in line]
    assert len(lines) == 2
    assert all(' † |' in line for line in lines)
    assert not any('†' in line for line in PAGE.splitlines() if '| ADE20K |' in line and 'vmambav0' in line)


def test_the_written_page_lists_what_is_registered():
    """Its measurements are taken as they are; `tools/model_zoo.py --check` (slow) repeats them."""
    written = tool.PAGE.read_text(encoding='utf-8')
    measured = re.findall(r'^\| `(\w+)` \| ([\d.]+) M \| ([\d.]+) G \|', written, re.M)
    assert sorted(name for name, _, _ in measured) == NAMES
    assert zoo.page({name: (float(params), float(flops)) for name, params, flops in measured}) == written


@pytest.mark.slow
def test_the_written_page_is_up_to_date(capsys):
    assert tool.main(['--check']) == 0
    assert 'up to date' in capsys.readouterr().out


def test_a_stale_page_is_noticed(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(tool, 'PAGE', tmp_path / 'docs' / 'page.md')
    monkeypatch.setattr(tool.mmvssm, 'list_models', lambda: ['efficientvmamba_tiny', 'test_vim'])
    assert tool.main(['--check']) == 1
    assert tool.main([]) == 0
    assert tool.main(['--check']) == 0
    assert '`efficientvmamba_tiny` | 6.49 M | 0.81 G' in tool.PAGE.read_text()
    capsys.readouterr()
