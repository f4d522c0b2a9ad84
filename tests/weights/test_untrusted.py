"""Files whose content has no end, no memory or no plain names: read to an end, or refused in words."""

import re

import pytest
import torch
from safetensors.torch import save_file

from mmvssm import weights
from mmvssm.weights import content, errors, info
from mmvssm.weights.convert import same

from . import files
from .test_hostile import RAW, pickled, refuses, storage_pid

KINDS = list(files.FORMATS)


def weights_beside(value):
    return {'model': files.small_state(), 'note': value}


def doubled(levels, kind=list):
    """A container that holds another twice, which holds a third twice ...: 2^levels steps for who walks it all."""
    value = kind([1])
    for _ in range(levels):
        value = kind([value, value])
    return value


@pytest.mark.parametrize('container', [list, tuple])
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
def test_shared_containers_are_converted_once(tmp_path, suffix, kind, container):
    path = files.save(tmp_path / 'x.pth', weights_beside(doubled(60, container)), kind)
    weights.convert(path, tmp_path / f'y{suffix}')
    assert same(weights.read_checkpoint(tmp_path / f'y{suffix}'), weights_beside(doubled(60, container)))


def test_shared_containers_are_described(tmp_path):
    path = files.save(tmp_path / 'x.pth', weights_beside(doubled(60)))
    assert 'note: list of 2 entries' in info.describe(path)[0]['content']


def test_a_file_of_the_first_version_is_still_read(tmp_path):
    text = '{"version": 1, "content": {"d": [["w", {"t": "w"}]]}}'
    save_file({'w': torch.ones(1)}, tmp_path / 'x.safetensors', metadata={'mmvssm.content': text})
    assert list(weights.read_checkpoint(tmp_path / 'x.safetensors')) == ['w']


TUPLE_BOMB = b')' + b'q\x00h\x00h\x00\x86' * 60  # in a pickle: (), then a pair of itself, over and over
KEYS = {
    'key of a dict': b'}' + TUPLE_BOMB + b'K\x01s',
    'keys of a dict': b'}(' + TUPLE_BOMB + b'K\x01u',
    'dict opcode': b'(' + TUPLE_BOMB + b'K\x01d',
    'item of a set': b'cbuiltins\nset\n(]' + TUPLE_BOMB + b'atR',
    'ordered dict of pairs': b'ccollections\nOrderedDict\n(]' + TUPLE_BOMB + b'K\x01\x86atR',
    'slice': b'cbuiltins\nslice\n(' + TUPLE_BOMB + b'tR',
    'text of a device': b'ctorch\ndevice\n(' + TUPLE_BOMB + b'tR',
    'code of a dtype': b'cnumpy\ndtype\n(' + TUPLE_BOMB + b'tR',
}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('case', KEYS)
def test_nothing_is_hashed_or_printed_in_endless_steps(tmp_path, kind, case):
    refuses(RAW[kind](tmp_path / 'x.pth', pickled(KEYS[case])), weights.DamagedFileError)


UNBOUNDED = {
    'one list copied over and over': b']q\x00(' + b'K\x01' * 3000 + b'e0' + b'ctorch\nSize\nq\x01h\x00\x85R' * 3000,
    'a room of bytes that is announced': b'\x96' + b'\xff' * 5 + b'\0' * 3,
    'more classes than any file has': b''.join(b'ca\nC%d\n0' % i for i in range(10_001)) + b'}',
    'a tensor filled as a dict': b'K\x01K\x01K\x01s',
}


@pytest.mark.parametrize('case', UNBOUNDED)
def test_a_small_pickle_does_not_grow(tmp_path, case):
    refuses(files.raw_zip(tmp_path / 'x.pth', pickled(UNBOUNDED[case])), weights.DamagedFileError)


def own_list():
    value = [1]
    value.append(value)
    return value


def own_dict():
    value = {}
    value['again'] = [value]
    return value


def nested(levels, kind):
    value = kind()
    for _ in range(levels):
        value = [value] if kind is list else {'a': value}
    return value


SHAPES = {
    'list in itself': (own_list, 'holds itself'),
    'dict in itself': (own_dict, 'holds itself'),
    'deep lists': (lambda: nested(200, list), 'levels of containers'),
    'deep dicts': (lambda: nested(200, dict), 'levels of containers'),
    'deep by sharing': (lambda: [doubled(60), nested(60, list), {'a': [doubled(99)]}], 'levels of containers'),
}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('case', SHAPES)
def test_containers_that_nobody_can_walk(tmp_path, kind, case):
    make, says = SHAPES[case]
    message = refuses(files.save(tmp_path / 'x.pth', weights_beside(make()), kind), match=says)
    assert "'note" in message


def test_nested_json_is_refused(tmp_path):
    text = '{"version": 1, "content": {"d": [["w", ' + '{"l": [' * 150 + '1' + ']}' * 150 + ']]}}'
    save_file({'w': torch.ones(1)}, tmp_path / 'x.safetensors', metadata={'mmvssm.content': text})
    refuses(tmp_path / 'x.safetensors', match='levels of containers')


def test_a_foreign_object_that_holds_itself_is_read_but_not_converted(tmp_path):
    with files.module_of('yacs.config', files.CfgNode):
        config = files.CfgNode()
        config['parent'] = config
        path = files.save(tmp_path / 'x.pth', weights_beside(config))
    assert set(weights.read_checkpoint(path)) == {'model', 'note'}
    with pytest.raises(weights.CheckpointError, match='holds itself'):
        weights.convert(path, tmp_path / 'x.safetensors')


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(
    'make',
    [
        lambda: torch.ones(1).expand(30_000, 30_000),
        lambda: torch.as_strided(torch.ones(5), (3, 3), (1, 1)),
        lambda: torch.ones(4, 1).expand(4, 7),
    ],
    ids=['expanded', 'overlapping', 'broadcast'],
)
def test_a_tensor_larger_than_its_data_is_refused_by_name(tmp_path, kind, make):
    message = refuses(files.save(tmp_path / 'x.pth', {'model': {'layers.0.w': make()}}, kind), match='bytes of data')
    assert 'model.layers.0.w' in message


def test_many_views_of_the_same_data_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(content, 'SPARE', 0)
    base = torch.ones(1000)
    path = files.save(tmp_path / 'x.pth', {f'w{i}': base[:] for i in range(100)})
    refuses(path, match='unfold to')


def test_tied_weights_are_read(tmp_path):
    base = torch.ones(1000)
    assert len(weights.read_checkpoint(files.save(tmp_path / 'x.pth', {'a': base, 'b': base[:]}))) == 2


UNUSUAL = {
    'meta': (lambda: torch.empty(2, device='meta'), 'is a meta tensor'),
    'sparse': (lambda: torch.eye(3).to_sparse(), 'is a sparse tensor'),
    'csr': (lambda: torch.eye(3).to_sparse_csr(), 'is a sparse tensor'),
    'quantised': (lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), 'is a quantised tensor'),
    'nested': (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), 'is a nested tensor'),
}


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('case', UNUSUAL)
def test_a_tensor_without_dense_values_is_refused_by_name(tmp_path, case):
    make, says = UNUSUAL[case]
    assert "'layers.w'" in refuses(files.save(tmp_path / 'x.pth', {'layers.w': make()}), match=says)


@pytest.mark.parametrize(
    'make', [lambda: torch.tensor([1 + 2j]).conj(), lambda: torch._neg_view(torch.ones(2))], ids=['conj', 'neg']
)
def test_lazy_conjugation_and_negation_are_carried_out(tmp_path, make):
    got = weights.read_checkpoint(files.save(tmp_path / 'x.pth', {'w': make()}))['w']
    assert torch.equal(got, make())


NASTY = '\x1b[31mred\nnext\r' + 'x' * 300


def sound(text):
    """No control character but the line's end, and no long stretch of what the file says."""
    assert not re.search(r'[\x00-\x09\x0b-\x1f\x7f]', text)
    assert 'x' * 81 not in text


@pytest.mark.parametrize(
    'make',
    [
        lambda: {NASTY: 1},
        lambda: {NASTY: {'a': 1}, 'epoch': 2},
        lambda: {NASTY: torch.ones(1).expand(9)},
    ],
    ids=['no weights', 'no weights beside a dict', 'expanded'],
)
def test_keys_reach_messages_escaped_and_cut(tmp_path, make):
    path = files.save(tmp_path / 'a.pth', make())
    with pytest.raises(weights.CheckpointError) as error:
        weights.unwrap(weights.read_checkpoint(path))
    sound(str(error.value))


def test_keys_reach_the_description_escaped_and_cut(tmp_path):
    state = {**files.small_state(), NASTY: torch.tensor([float('nan')]), NASTY + 'b': 1}
    facts, _ = info.describe(files.save(tmp_path / 'a.pth', {'model': state, NASTY: NASTY}))
    for text in facts.values():
        sound(text)


def test_keys_reach_the_report_escaped_and_cut():
    report = weights.sort_keys({'a': (1,), NASTY: (2,)}, {NASTY: (3,), 'b' + NASTY: (1,)})
    sound(str(report) + report.summary())


@pytest.mark.parametrize(
    ('payload', 'says'),
    [
        (b'cos\n\x1b[31m' + b'x' * 300 + b'\n.', 'asks for'),
        (b'ca.b\n\x1b[31m' + b'x' * 300 + b'\n)R.', 'asks to call'),
        (b'ca\nC\x1b[31m' + b'x' * 300 + b'\n)R.', 'not loaded'),
    ],
    ids=['module', 'function', 'class'],
)
def test_names_of_globals_are_escaped_and_cut(tmp_path, payload, says):
    sound(refuses(files.raw_zip(tmp_path / 'a.pth', b'\x80\x02' + payload), match=says))


def test_names_of_storages_are_escaped_and_cut(tmp_path):
    key = b'\x1b[31m\n'
    whole = b'ctorch._utils\n_rebuild_tensor_v2\n(%sK\x00(K\x01t(K\x01t\x89}tR' % storage_pid(1).replace(
        b'\x01\x00\x00\x000', b'%c\x00\x00\x00%s' % (len(key), key)
    )
    sound(refuses(files.raw_zip(tmp_path / 'a.pth', pickled(whole)), match='missing or short'))


def test_names_in_archives_are_escaped_and_cut(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / 'a.pth', 'w') as archive:
        archive.writestr('archive/data.pkl', pickled(b'}'))
        archive.writestr(NASTY, b'1')
        with pytest.warns(UserWarning, match='Duplicate'):
            archive.writestr(NASTY, b'1')
    sound(refuses(tmp_path / 'a.pth', weights.DamagedFileError, 'twice'))


def test_entries_that_lie_within_each_other_are_refused(tmp_path):
    import struct

    path = files.raw_zip(tmp_path / 'a.pth', pickled(b'}') + b'0' * 5000)
    data = bytearray(path.read_bytes())
    place = data.rindex(b'PK\x01\x02')  # the entry of archive/version takes the place and length of all
    struct.pack_into('<II', data, place + 20, 100_000, 100_000)
    path.write_bytes(bytes(data))
    refuses(path, weights.DamagedFileError)


@pytest.mark.parametrize('name', ['x' * 300 + '.pth', 'a\0b.pth', 'y' * 5000], ids=['long', 'nul', 'too long'])
def test_a_path_that_cannot_be_is_said_in_words(tmp_path, name):
    message = refuses(tmp_path / name, match='cannot be read')
    assert '\0' not in message


def test_a_target_that_cannot_be_is_said_in_words(tmp_path):
    path = files.save(tmp_path / 'x.pth', files.small_state())
    for name in ('y' * 300 + '.pth', 'a\0b.safetensors', 'x.pth/y.pth'):
        with pytest.raises(weights.CheckpointError, match='cannot be written'):
            weights.convert(path, tmp_path / name)


def test_an_older_file_is_held_in_memory_once(tmp_path):
    import tracemalloc

    state = {f'w{i}': torch.zeros(1 << 20) for i in range(4)}
    path = files.save(tmp_path / 'x.pth', state, 'legacy')
    tracemalloc.start()
    weights.read_checkpoint(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20  # beside torch's own memory for the tensors
    tracemalloc.stop()


@pytest.mark.parametrize(
    ('value', 'text'),
    [('a.b', 'a.b'), ('a b', "'a b'"), ('\x1b', "'\\x1b'"), ('\u202e', "'\\u202e'"), (10**5000, '<int>')],
    ids=['plain', 'space', 'escape', 'reversed', 'huge'],
)
def test_how_a_name_is_shown(value, text):
    assert errors.shown(value) == text
