"""Files as the authors' trainers write them are read, their weights are found, nothing foreign is imported."""

import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mmvssm import weights
from mmvssm.weights import inert

from . import files

KINDS = list(files.FORMATS)


def same(got, want):
    assert list(got) == list(want)
    for name, value in want.items():
        assert got[name].dtype == value.dtype, name
        assert torch.equal(got[name], value), name


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('suffix', ['.pth', '.pth.tar', '.ckpt', '.th', '.bin', ''])
def test_plain_state_dict(tmp_path, kind, suffix):
    path = files.save(tmp_path / f'x{suffix}', files.small_state(), kind)
    same(weights.read_checkpoint(path), files.small_state())


def test_safetensors_whatever_its_name(tmp_path):
    save_file({k: v.contiguous() for k, v in files.small_state().items()}, tmp_path / 'x.pth')
    got = weights.read_checkpoint(tmp_path / 'x.pth')
    assert set(got) == set(files.small_state())
    same(got, {name: files.small_state()[name] for name in got})


@pytest.mark.parametrize('kind', KINDS)
def test_yacs_config_beside_the_weights(tmp_path, kind):
    content = weights.read_checkpoint(files.vmamba_training(tmp_path / 'x.pth', kind))
    same(content['model_ema'], files.small_state(2.0))
    assert content['max_accuracy'] == 82.5
    assert isinstance(content['config'], inert.Inert)
    assert content['config'].items['AMP'] is True
    assert 'yacs' not in sys.modules


@pytest.mark.parametrize('kind', KINDS)
def test_argparse_namespace_beside_the_weights(tmp_path, kind):
    content = weights.read_checkpoint(files.vim_training(tmp_path / 'x.pth', kind))
    assert isinstance(content['args'], inert.Inert)
    assert content['args'].state == {'lr': 0.1}


@pytest.mark.parametrize('kind', KINDS)
def test_mmengine_message_hub_beside_the_weights(tmp_path, kind):
    content = weights.read_checkpoint(files.mmengine_detector(tmp_path / 'x.pth', kind))
    assert content['meta'] == {'epoch': 12}
    assert isinstance(content['message_hub']['log_scalars']['loss'], inert.Inert)


@pytest.mark.parametrize('kind', KINDS)
def test_a_tensor_written_to_leaves_the_file_alone(tmp_path, kind):
    path = files.vmamba_training(tmp_path / 'x.pth', kind)
    before = path.read_bytes()
    weights.read_checkpoint(path)['model']['patch_embed.0.weight'].zero_()
    assert path.read_bytes() == before


@pytest.mark.parametrize('name', ['zip', 'zip_training', 'legacy', 'legacy_training', 'safetensors'])
def test_tensors_outlive_their_file(tmp_path, name):
    path, kind = tmp_path / 'x.pth', name.split('_')[0]
    if kind == 'safetensors':
        save_file({k: v.contiguous() for k, v in files.small_state(2.0).items()}, path)
    elif name.endswith('training'):
        files.vmamba_training(path, kind)
    else:
        files.save(path, files.small_state(2.0), kind)
    found = weights.unwrap(weights.read_checkpoint(path))
    path.write_bytes(b'')  # as a trainer does that writes its next checkpoint over the one that it resumed from
    same({name: found[name] for name in files.small_state()}, files.small_state(2.0))


@pytest.mark.parametrize('kind', KINDS)
def test_shared_storage_and_views(tmp_path, kind):
    base = torch.arange(12.0)
    state = {'a': base[2:8].view(2, 3), 'b': base[::3], 'args': files.CfgNode()}
    with files.module_of('yacs.config', files.CfgNode):
        path = files.save(tmp_path / 'x.pth', state, kind)
    got = weights.read_checkpoint(path)
    assert torch.equal(got['a'], state['a'])
    assert torch.equal(got['b'], state['b'])


@pytest.mark.parametrize('kind', KINDS)
def test_numpy_scalars_become_numbers(tmp_path, kind):
    values = {'a': np.float32(0.5), 'b': np.int64(-3), 'c': np.bool_(True), 'w': torch.ones(2), 'x': files.CfgNode()}
    with files.module_of('yacs.config', files.CfgNode):
        got = weights.read_checkpoint(files.save(tmp_path / 'x.pth', values, kind))
    assert (got['a'], got['b'], got['c']) == (0.5, -3, True)


def test_url_of_a_local_file(tmp_path):
    path = files.save(tmp_path / 'a b.pth', files.small_state())
    same(weights.read_checkpoint(path.as_uri()), files.small_state())


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    files.save(tmp_path / 'x.pth', files.small_state())
    same(weights.read_checkpoint('~/x.pth'), files.small_state())


OTHER = {
    'empty': (b'', 'is empty'),
    'html': (b'  <!DOCTYPE html><html><body>Not found</body></html>', 'web page'),
    'lfs pointer': (b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n', 'git-lfs pointer'),
    'gzip': (b'\x1f\x8b\x08\x00rest', 'gzip'),
    'hdf5': (b'\x89HDF\r\n\x1a\n', 'HDF5'),
    'png': (b'\x89PNG\r\n\x1a\n', 'picture'),
    'text': (b'epoch: 12\n', 'neither a torch checkpoint'),
    'json': (json.dumps({'a': 1}).encode(), 'neither a torch checkpoint'),
    'zeros': (b'\0' * 4096, 'cut off or blank'),
    'foreign zip': (b'PK\x05\x06' + b'\0' * 18, 'neither a torch checkpoint'),
}


@pytest.mark.parametrize('case', OTHER)
def test_what_the_file_is_instead(tmp_path, case):
    content, says = OTHER[case]
    path = tmp_path / 'x.pth'
    path.write_bytes(content)
    with pytest.raises(weights.CheckpointError, match=says) as error:
        weights.read_checkpoint(path)
    assert len(str(error.value).splitlines()) == 2
    assert str(path) in str(error.value)


def test_a_numpy_archive_is_not_a_checkpoint(tmp_path):
    np.savez(tmp_path / 'x.npz', a=np.zeros(3))
    with pytest.raises(weights.NotACheckpointError, match='zip archive of 1 files'):
        weights.read_checkpoint(tmp_path / 'x.npz')


def test_a_torchscript_program_is_not_a_state_dict(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / 'x.pt')
    with pytest.raises(weights.NotACheckpointError, match='TorchScript'):
        weights.read_checkpoint(tmp_path / 'x.pt')


@pytest.mark.parametrize('kind', KINDS)
def test_a_pickled_module_is_not_a_state_dict(tmp_path, kind):
    files.save(tmp_path / 'x.pth', torch.nn.Linear(2, 2), kind)
    with pytest.raises(weights.NotACheckpointError, match='Linear'):
        weights.read_checkpoint(tmp_path / 'x.pth')


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(weights.CheckpointError, match='no checkpoint file'):
        weights.read_checkpoint(tmp_path / 'none.pth')
    with pytest.raises(weights.CheckpointError, match='is a folder'):
        weights.read_checkpoint(tmp_path)
