"""`mmvssm weights`: each command on files made here."""

import dataclasses
import re

import pytest
import torch

from mmvssm import create_model, list_models, weights
from mmvssm.commands import main
from mmvssm.weights import info


def of_state(state: str) -> list[str]:
    """The variants of which that much was published."""
    return [n for n in list_models() if weights.state(n) == state and not n.startswith('test_')]


def run(capsys, *args):
    code, message = 0, ''
    try:
        main(['weights', *map(str, args)])
    except SystemExit as stop:
        code, message = 1, stop.code
    return code, capsys.readouterr().out, message


@pytest.fixture(scope='module')
def training(tmp_path_factory):
    """A training checkpoint of the micro VMamba, with averaged weights and an optimizer."""
    path = tmp_path_factory.mktemp('training') / 'x.pth'
    state = create_model('test_vmamba').state_dict()
    averaged = {name: value + 1 for name, value in state.items()}
    optimizer = {'state': {0: {'exp_avg': torch.zeros(5)}}, 'param_groups': [{'lr': 0.1}]}
    torch.save({'model': state, 'model_ema': averaged, 'optimizer': optimizer, 'epoch': 12}, path)
    return path


def test_help_explains_every_command(capsys):
    with pytest.raises(SystemExit):
        main(['weights', '--help'])
    out = capsys.readouterr().out
    for word in ('list', 'info', 'fetch', 'verify', 'convert', 'MMVSSM_OFFLINE', 'TORCH_HOME', 'examples:'):
        assert word in out


def test_list(capsys):
    code, out, _ = run(capsys, 'list', '--family', 'vmamba_tiny', '--task', 'coco')
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == [
        f'vmamba_tiny_{tag}.mask_rcnn_{schedule}_coco' for schedule in ('1x', '3x') for tag in ('s2l5', 's1l8')
    ]
    assert 'box_AP 47.3, mask_AP 42.7' in out
    assert 'http' not in out


def test_list_says_what_has_no_weights(capsys):
    _, out, _ = run(capsys, 'list', '--urls')
    for state in ('weights never released', 'architecture only'):
        assert f'\n{state}: {", ".join(of_state(state))}\n' in out
    _, out, _ = run(capsys, 'list', '--urls', '--task', 'imagenet')
    assert 'https://github.com/MzeroMiko/VMamba/releases/download/' in out
    assert '(unverified)' not in out


def test_list_marks_what_was_not_traced():
    checkpoint = dataclasses.replace(weights.PUBLISHED['vmambav0_base.dp05_in1k'], unverified=True)
    assert info.table([checkpoint]).endswith('top1 83.2 (unverified)')


def test_info(capsys, training):
    code, out, _ = run(capsys, 'info', training)
    assert code == 0
    for text in (
        'torch (zip archive)',
        'optimizer: 1 tensors',
        'epoch: 12',
        "under 'model_ema'",
        'fits:          test_vmamba',
    ):
        assert text in out


def test_info_warns_of_weights_that_are_not_finite(capsys, tmp_path):
    torch.save({'a.weight': torch.tensor([1.0, float('nan')]), 'b.weight': torch.ones(3)}, tmp_path / 'x.pth')
    _, out, _ = run(capsys, 'info', tmp_path / 'x.pth')
    assert '1 tensors hold NaN or infinity: a.weight' in out
    assert 'no registered variant' in out


def test_info_on_something_else(capsys, tmp_path):
    (tmp_path / 'x.pth').write_text('<html>')
    code, out, err = run(capsys, 'info', tmp_path / 'x.pth')
    assert (code, out) == (1, '')
    assert 'web page' in err
    assert len(err.strip().splitlines()) == 2


def test_fetch(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv('MMVSSM_OFFLINE', '1')
    published = weights.default_checkpoint('vmamba_tiny_s1l8')
    code, _, err = run(capsys, 'fetch', 'vmamba_tiny_s1l8', '--dir', tmp_path)
    assert code == 1
    assert str(tmp_path / published.file) in err
    (tmp_path / published.file).write_bytes(b'x')
    for name in ('vmamba_tiny_s1l8', 'vmamba_tiny_s1l8.in1k'):
        assert run(capsys, 'fetch', name, '--dir', tmp_path) == (0, f'{tmp_path / published.file}\n', '')


@pytest.mark.parametrize(
    ('name', 'says'),
    [
        ('localvmamba_tiny', 'weights never released; local_vssm_tiny.ckpt'),
        (of_state('architecture only')[0], 'architecture only'),
        ('vmamba_tiny', 'did you mean .*vmamba_tiny_s1l8'),
    ],
)
def test_fetch_of_what_is_not_there(capsys, name, says):
    code, _, err = run(capsys, 'fetch', name)
    assert code == 1
    assert re.search(says, err)


def test_verify(capsys, training, monkeypatch):
    code, _, err = run(capsys, 'verify', training, 'vmamba_tiny_s1l8')
    assert code == 1
    assert 'is not vmamba_tiny_s1l8.in1k: it fits test_vmamba, not vmamba_tiny_s1l8.' in err
    size = weights.unwrap(weights.read_checkpoint(training)).num_params
    known = {
        'name': 'test_vmamba.in1k',
        'model': 'test_vmamba',
        'task': 'imagenet',
        'metrics': {},
        'url': 'https://x/y',
    }
    for params, digest, says in (
        (size, None, 'is whole and holds test_vmamba (no checksum is published)'),
        (size + 1, None, f'it holds {size:,} parameters, not {size + 1:,}'),
        (size, '0' * 64, 'its SHA-256 is'),
    ):
        entry = weights.Checkpoint(**known, license='MIT', num_params=params, sha256=digest)
        monkeypatch.setitem(weights.PUBLISHED, entry.name, entry)
        code, out, err = run(capsys, 'verify', training, entry.name)
        assert says in out + err
        assert code == (params != size or digest is not None)


def test_convert_and_back(capsys, training, tmp_path):
    code, out, _ = run(capsys, 'convert', training, tmp_path / 'x.safetensors')
    assert code == 0
    assert 'compared bit for bit' in out
    assert run(capsys, 'convert', tmp_path / 'x.safetensors', tmp_path / 'x.pth')[0] == 0
    one, two = torch.load(training), torch.load(tmp_path / 'x.pth')
    assert list(one) == list(two)
    assert list(one['model']) == list(two['model'])
    assert all(torch.equal(value, two['model'][name]) for name, value in one['model'].items())
