"""`tools/model_zoo.py` and the page that it writes."""

import re

import pytest

from mmvssm import list_models, weights
from mmvssm.weights import zoo
from tests.tools.load import load

tool = load('model_zoo')

NAMES = [name for name in list_models() if not name.startswith('test_')]


def size(name, params=1.0) -> zoo.Measured:
    left_out = {'scan': 0.5, 'other directions': 0.2, 'norms': 0.1} if 'vim' in name else {}
    return zoo.Measured(params, {'linear': 1.5, 'scan': 0.5}, left_out=left_out)


PAGE = zoo.page({name: size(name) for name in NAMES})


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
        (next(name for name in NAMES if weights.state(name) == 'architecture only'), '- | architecture only | -'),
        ('vim_tiny', 'top-1 76.1, top-5 93.0'),
        ('vil2_base', '2.00 G | 89M, 18.6G | top-1 82.4'),
    ],
)
def test_states_are_honest(name, says):
    assert says in row(name)


def test_unverified_figures_keep_their_mark():
    lines = [line for line in PAGE.splitlines() if '| ADE20K |' in line and 'localvmamba' in line]
    assert len(lines) == 2
    assert all(' † |' in line for line in lines)
    assert not any('†' in line for line in PAGE.splitlines() if '| ADE20K |' in line and 'vmambav0' in line)


def test_supernets_stand_apart():
    names = [f'{name}_search' for name in ('localvim_tiny', 'localvmamba_small', 'localvmamba_tiny')]
    section = PAGE[PAGE.index('## Supernets') : PAGE.index('## FLOPs')]
    assert sorted(re.findall(r'^\| `(\w+)`', section, re.M)) == names
    assert not any(f'| `{name}` |' in PAGE[: PAGE.index('## Supernets')] for name in names)


def test_detections_of_each_size_are_shown():
    assert 'box AP 37.5 / 57.8 / 39.6, small 22.6, medium 40.7, large 49.1' in PAGE


def test_the_written_page_lists_what_is_registered():
    """All but what is measured, which `tools/model_zoo.py --check` (slow) repeats."""

    def masked(page: str) -> str:
        return re.sub(r'(?<=\| )(-|[\d.]+( [MG])?)(?= \|)', '#', page)

    written = tool.PAGE.read_text(encoding='utf-8')
    params = dict(re.findall(r'^\| `(\w+)` \| ([\d.]+) M \|', written, re.M))
    assert sorted(params) == NAMES
    assert masked(zoo.page({name: size(name, float(value)) for name, value in params.items()})) == masked(written)


@pytest.mark.parametrize(
    ('name', 'authors'),
    [('localvim_tiny', 1.482), ('localvim_tiny_midcls', 1.489), ('localvim_small', 4.771), ('vim_tiny', 1.48)]
    + [('vim_small', 5.14)],
)
def test_published_counts_are_explained_by_their_terms(name, authors):
    """LocalVim's figures are those of its authors' counter; Vim's follow from its formula and round to 1.5 and 5.1."""
    measured = tool.measure(name)
    assert measured.flops - sum(measured.left_out.values()) == pytest.approx(authors, rel=5e-3)


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
