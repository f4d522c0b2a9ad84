"""Official files become safetensors and come back: the same keys in the same order, the same bits."""

import pytest
import torch
from safetensors import safe_open

from mmvssm import weights
from mmvssm.weights.convert import same

from . import files


def there_and_back(path, tmp_path):
    weights.convert(path, tmp_path / 'there.safetensors')
    weights.convert(tmp_path / 'there.safetensors', tmp_path / 'back.pth')
    return weights.read_checkpoint(tmp_path / 'there.safetensors'), weights.read_checkpoint(tmp_path / 'back.pth')


@pytest.mark.parametrize('kind', list(files.FORMATS))
def test_a_bare_state_dict(tmp_path, kind):
    path = files.save(tmp_path / 'x.pth', files.small_state(), kind)
    for content in there_and_back(path, tmp_path):
        assert same(content, files.small_state())


def test_everything_that_a_trainer_saves(tmp_path):
    content = {
        'state_dict': {f'module.{name}': value for name, value in files.small_state().items()},
        'optimizer': {
            'state': {0: {'exp_avg': torch.ones(3), 'step': 7}},
            'param_groups': [{'lr': 0.1, 'betas': (0.9, 1)}],
        },
        'epoch': 12,
        'best': float('nan'),
        'note': 'größer',
        'none': None,
        'flags': [True, False],
    }
    path = files.save(tmp_path / 'x.ckpt', content)
    for found in there_and_back(path, tmp_path):
        assert same(found, content)


def test_odd_tensors_keep_their_bits(tmp_path):
    state = {
        'nan': torch.tensor([0x7FC00001, 0x7F800001, -1], dtype=torch.int32).view(torch.float32),
        'minus zero': torch.tensor([-0.0]),
        'empty': torch.empty(0, 3),
        'scalar': torch.tensor(3),
        'bool': torch.tensor([True, False]),
        'float8': torch.arange(4, dtype=torch.uint8).view(torch.float8_e4m3fn),
        'shared': torch.arange(6.0)[1:4],
        'shared too': torch.arange(6.0)[1:4],
    }
    base = torch.arange(8.0)
    state.update(one=base[:4], other=base[2:6], transposed=base.view(2, 4).t())
    path = files.save(tmp_path / 'x.pth', state)
    for found in there_and_back(path, tmp_path):
        assert same(found, state)


def test_weights_have_plain_names_for_other_readers(tmp_path):
    path = files.mmengine_detector(tmp_path / 'x.pth', 'zip')
    count, foreign = weights.convert(path, tmp_path / 'x.safetensors')
    with safe_open(tmp_path / 'x.safetensors', 'pt') as file:
        names = set(file.keys())
        assert file.metadata()['format'] == 'pt'
    assert names == {*files.small_state(), 'state_dict.neck.convs.0.weight'}
    assert count == len(names)
    assert {'mmengine.config.config.ConfigDict', 'mmengine.logging.history_buffer.HistoryBuffer'} <= set(foreign)


def test_foreign_objects_come_back_as_plain_values(tmp_path):
    path = files.vmamba_training(tmp_path / 'x.pth', 'zip')
    there, back = there_and_back(path, tmp_path)
    assert same(there, back)
    assert there['config']['items']['MODEL'] == {'items': {'TYPE': 'vssm'}}
    assert torch.load(tmp_path / 'back.pth', weights_only=True)['config']['items']['AMP'] is True
    chosen = weights.unwrap(there)
    assert chosen.wrapper == 'model_ema'
    assert same(dict(chosen), dict(files.small_state(2.0)))


@pytest.mark.filterwarnings('ignore:ComplexHalf')
def test_nothing_is_left_of_a_conversion_that_fails(tmp_path):
    files.save(tmp_path / 'x.pth', {'w': torch.zeros(2, dtype=torch.complex32)})
    with pytest.raises(weights.CheckpointError, match='safetensors cannot hold'):
        weights.convert(tmp_path / 'x.pth', tmp_path / 'x.safetensors')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['x.pth']


def test_a_damaged_description_is_an_error(tmp_path):
    from safetensors.torch import save_file

    for text in (
        '{',
        '[]',
        '{"version": 99, "content": 1}',
        '{"version": 1, "content": {"t": "none"}}',
        '{"version": 1}',
    ):
        save_file({'w': torch.ones(1)}, tmp_path / 'x.safetensors', metadata={'mmvssm.content': text})
        with pytest.raises(weights.CheckpointError, match='damaged safetensors'):
            weights.read_checkpoint(tmp_path / 'x.safetensors')
