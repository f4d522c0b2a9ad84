"""Files that run code, reach outside their data, are cut off or altered: an error of two lines, or the tensors."""

import builtins
import os
import pickle
import random
import subprocess

import pytest
import torch
from safetensors.torch import save_file

from mmvssm import weights

from . import files

KINDS = list(files.FORMATS)
RAW = {'zip': files.raw_zip, 'legacy': files.raw_legacy}


def refuses(path, kind=weights.CheckpointError, match=None):
    with pytest.raises(kind, match=match) as error:
        weights.read_checkpoint(path)
    assert 1 <= len(str(error.value).splitlines()) <= 2
    return str(error.value)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(
    ('function', 'names'),
    [
        (os.system, 'system'),
        (subprocess.Popen, 'Popen'),
        (builtins.eval, 'builtins.eval'),
        (builtins.exec, 'builtins.exec'),
        (builtins.__import__, '__import__'),
        (pickle.loads, 'loads'),
        (torch.load, 'torch.serialization.load'),
        (torch.hub.load, 'torch.hub.load'),
    ],
    ids=lambda value: getattr(value, '__qualname__', ''),
)
def test_code_is_not_run(tmp_path, kind, function, names):
    witness = tmp_path / 'witness'
    argument = [f'touch {witness}'] if function is not subprocess.Popen else [['touch', str(witness)]]
    state = {'model': files.small_state(), 'config': files.Attack(function, *argument)}
    message = refuses(files.save(tmp_path / 'x.pth', state, kind), weights.UnsafePickleError, names)
    assert 'nothing of it was run' in message
    assert not witness.exists()


def pickled(*opcodes: bytes) -> bytes:
    return b'\x80\x02' + b''.join(opcodes) + b'.'


PAYLOADS = {
    'getattr chain': pickled(b'cbuiltins\ngetattr\n(cos\nX\x06\x00\x00\x00systemtR(X\x02\x00\x00\x00idtR'),
    'method of an inert object': pickled(b'cbuiltins\ngetattr\n(ca.b\nC\nX\x01\x00\x00\x00ftR(X\x02\x00\x00\x00idtR'),
    'inst opcode': pickled(b'(S"id"\nios\nsystem\n'),
    'obj opcode': pickled(b'(cos\nsystem\nS"id"\no'),
    'nested name': pickled(b'ctorch\nserialization.os.system\n(S"id"\ntR'),
    'dunder of an allowed function': pickled(b'ctorch._utils\n_rebuild_tensor.__globals__\n)R'),
    'builtin under its old name': pickled(b'c__builtin__\neval\n(S"1"\ntR'),
    'extension code': pickled(b'\x82\x01'),
    'lambda of numpy': pickled(b'cnumpy.testing._private.utils\nrunstring\n(S"1"\n}tR'),
    'setstate of a dtype': pickled(b'cnumpy\ndtype\n(S"O8"\ntR(I3\nS"|"\nNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb'),
    'object array from bytes': pickled(
        b'cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tS"b"\ntR(K\x01(K\x01tcnumpy\ndtype\n(S"O8"\ntR'
        b'\x89S"AAAAAAAA"\ntb'
    ),
    'huge string': b'\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.',
    'build on a list': pickled(b']}b'),
    'build on a global': pickled(b'ctorch._utils\n_rebuild_tensor_v2\n}S"__globals__"\n}sb'),
    'endless marks': b'\x80\x02' + b'(' * 20_000,
    'deep nesting': b'\x80\x02' + b']' * 20_000 + b'a' * 19_999 + b'.',
    'no stop': b'\x80\x02}',
    'unknown opcode': b'\x80\x02\xff.',
}


@pytest.mark.parametrize('kind', KINDS)
def test_a_huge_memo_index_costs_no_memory(tmp_path, kind):
    assert weights.read_checkpoint(RAW[kind](tmp_path / 'x.pth', pickled(b'}r\xff\xff\xff\x7f'))) == {}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('case', PAYLOADS)
def test_crafted_pickles(tmp_path, kind, case):
    refuses(RAW[kind](tmp_path / 'x.pth', PAYLOADS[case]))


def storage_pid(numel, key='0', kind='FloatStorage'):
    """Opcodes for a persistent id of torch's: ('storage', type, key, 'cpu', numel)."""
    return b'(X\x07\x00\x00\x00storagectorch\n%s\nX\x01\x00\x00\x00%sX\x03\x00\x00\x00cpuL%d\ntQ' % (
        kind.encode(),
        key.encode(),
        numel,
    )


BAD_TENSORS = {
    'larger than the file': (10**15, 0, (4,), (1,)),
    'beyond its data': (4, 0, (1000,), (1,)),
    'offset beyond its data': (4, 3, (2,), (1,)),
    'stride beyond its data': (4, 0, (2, 2), (100, 1)),
    'negative stride': (4, 0, (2,), (-1,)),
    'negative size': (4, 0, (-2,), (1,)),
    'negative offset': (4, -1, (2,), (1,)),
    'overflowing': (4, 0, (2**40, 2**40), (2**40, 1)),
    'shape and strides of two lengths': (4, 0, (2, 2), (1,)),
}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('case', BAD_TENSORS)
def test_tensors_stay_inside_their_data(tmp_path, kind, case):
    numel, offset, size, stride = BAD_TENSORS[case]
    whole = b'ctorch._utils\n_rebuild_tensor_v2\n(%sL%d\n%s%s\x89}tR'
    shapes = [b'(' + b''.join(b'L%d\n' % n for n in values) + b't' for values in (size, stride)]
    unknown = b'S"c"\nca.b\nCfg\n)Rs'  # an object of a foreign class: torch's own reader hands over to ours
    payload = pickled(b'}S"w"\n', whole % (storage_pid(numel), offset, *shapes), b's', unknown)
    if kind == 'zip':
        import zipfile

        with zipfile.ZipFile(tmp_path / 'x.pth', 'w') as archive:
            archive.writestr('archive/data.pkl', payload)
            archive.writestr('archive/data/0', bytes(16))
    else:
        files.raw_legacy(tmp_path / 'x.pth', payload)
    refuses(tmp_path / 'x.pth', weights.DamagedFileError)


def sample_files(folder):
    """One good file of each format, with and without a foreign object."""
    save_file({k: v.contiguous() for k, v in files.small_state().items()}, folder / 'state.safetensors')
    return [
        *(files.save(folder / f'{kind}.pth', files.small_state(), kind) for kind in KINDS),
        *(files.vmamba_training(folder / f'{kind}_training.pth', kind) for kind in KINDS),
        folder / 'state.safetensors',
    ]


NAMES = ['zip', 'legacy', 'zip_training', 'legacy_training', 'state']


@pytest.fixture(scope='module')
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp('samples')
    return {path.stem: path.read_bytes() for path in sample_files(folder)}


@pytest.mark.parametrize('name', NAMES)
def test_truncation_is_always_noticed(tmp_path, samples, name):
    data = samples[name]
    for cut in sorted({*range(64), *range(64, len(data) - 1, max(len(data) // 60, 1)), len(data) - 1}):
        (tmp_path / 'x.pth').write_bytes(data[:cut])
        refuses(tmp_path / 'x.pth')


@pytest.mark.parametrize('name', NAMES)
def test_bit_flips_give_an_error_or_tensors(tmp_path, samples, name):
    data = samples[name]
    rng = random.Random(name)
    path, errors = tmp_path / 'x.pth', []
    for _ in range(80):
        position = rng.randrange(len(data))
        path.write_bytes(data[:position] + bytes([data[position] ^ 1 << rng.randrange(8)]) + data[position + 1 :])
        try:
            found = weights.unwrap(weights.read_checkpoint(path))
        except weights.CheckpointError as error:
            errors.append(str(error))
        else:
            assert all(isinstance(value, torch.Tensor) for value in found.values())
    assert all(len(error.splitlines()) <= 2 for error in errors)


def test_a_flipped_bit_in_a_zip_archives_tensor_is_noticed(tmp_path):
    path = files.save(tmp_path / 'x.pth', {'w': torch.full((1000,), 1.5)})
    data = bytearray(path.read_bytes())
    position = data.index(torch.full((4,), 1.5).numpy().tobytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))
    refuses(path, weights.DamagedFileError, 'checksum')


def test_compressed_archives_are_refused_before_they_grow(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / 'x.pth', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('archive/data.pkl', b'0' * 10_000_000)
    refuses(tmp_path / 'x.pth', weights.NotACheckpointError, 'compressed')
