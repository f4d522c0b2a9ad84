"""The payloads of fickling's and picklescan's own tests are refused, nothing of them is run; plain files are read."""

import collections
import datetime
import decimal
import encodings.cp437  # noqa: F401 - which zipfile imports at some names of entries
import fractions
import io
import os
import pathlib
import pickle
import re
import subprocess
import sys
import types
import uuid

import numpy as np
import pytest
import torch

from mmvssm import weights
from mmvssm.weights.convert import same

from . import files, payloads
from .test_hostile import refuses

ROOT = pathlib.Path(__file__).parents[2]
SAID = re.compile(r"asks (for|to call|to change) '")  # and the name of it


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """The file that a payload makes when it is run."""
    path = tmp_path / 'canary'
    monkeypatch.setenv(payloads.CANARY, str(path))
    return path


def refused(folder, name, data, canary):
    """What is said against a file, of which nothing was run or imported."""
    (folder / name).write_bytes(data)
    before = set(sys.modules)
    message = refuses(folder / name)
    assert not canary.exists()
    assert set(sys.modules) == before
    return message


@pytest.mark.parametrize('name', payloads.EXPRESSIONS)
def test_a_payload_is_refused_wherever_it_stands(tmp_path, canary, name):
    for kind, data in payloads.held(payloads.EXPRESSIONS[name]).items():
        message = refused(tmp_path, kind, data, canary)
        if kind.endswith('pkl.pth'):
            assert 'neither a torch checkpoint nor' in message
        elif name not in UNNAMED:
            assert SAID.search(message), message


UNNAMED = {'extension code'}  # has no name to be said


@pytest.mark.parametrize('name', payloads.containers())
def test_a_container_is_refused(tmp_path, canary, name):
    refused(tmp_path, name, payloads.containers()[name], canary)


@pytest.mark.parametrize(('module', 'name'), payloads.CALLED, ids='.'.join)
def test_what_is_called_is_named(tmp_path, canary, module, name):
    data = payloads.in_zip(payloads.whole(payloads.calls()[f'{module}.{name}']))
    message = refused(tmp_path, 'x.pth', data, canary)
    assert f'{module.replace("__builtin__", "builtins")}.{name}' in message


WORKING = ['os.system', 'os.popen', 'posix.system', 'builtins.eval', 'builtins.exec', 'subprocess.run', 'timeit.timeit']


@pytest.mark.parametrize('name', [*payloads.TRICKS, *WORKING])
def test_the_payloads_work_elsewhere(canary, name):
    """Without this, a canary that is silent would say nothing."""
    data = payloads.whole(payloads.EXPRESSIONS[name])
    if b'__builtin__' in data or name == 'key of a dict':
        data = data.replace(b'\x80\x04', b'\x80\x02', 1)  # for the names of Python 2
    value = pickle.loads(data)
    if hasattr(value, 'read'):
        value.close()  # waits for it
    assert canary.exists()


WATCHER = """
import encodings.cp437, sys
from pathlib import Path
import mmvssm.weights as weights

folder, good, events = Path(sys.argv[1]), sys.argv[2], []
list(map(weights.read_checkpoint, (good, good + '.legacy')))  # whatever reading imports is imported now
files = sorted(path for path in folder.rglob('*') if path.is_file())
sys.addaudithook(lambda event, args: events.append((event, args)) if event != 'open' else None)
read = 0
for path in files:
    try:
        weights.read_checkpoint(path)
        read += 1
    except weights.CheckpointError:
        pass
    if events:
        print(path.name, events[:3])
        events.clear()
print(len(files), 'files,', read, 'read')
"""


def test_python_itself_sees_nothing_happen(tmp_path, canary):
    """Python's audit events: nothing is imported, compiled, executed, started, connected or unpickled by CPython."""
    payloads.write_all(tmp_path / 'all')
    good = files.save(tmp_path / 'good.pth', files.small_state())
    files.save(tmp_path / 'good.pth.legacy', files.small_state(), 'legacy')
    command = [sys.executable, '-c', WATCHER, str(tmp_path / 'all'), str(good)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    number = 6 * len(payloads.EXPRESSIONS) + len(payloads.containers())
    assert done.stdout == f'{number} files, 0 read\n', done.stdout[-2000:] + done.stderr[-2000:]
    assert not canary.exists()


def notes():
    """What lies beside the weights in files that people share, and what only looks like an attack."""
    return {
        'text': "import os; os.system('rm -rf /'); eval('x')",
        'keys': {'exec': 1, 'os': 2, 'subprocess': 3, '__reduce__': 4},
        'numbers': [np.float64(82.5), np.int32(42), np.float32(0.5), np.bool_(True)],
        'array': np.arange(6.0).reshape(2, 3),
        'counts': collections.Counter('abca'),
        'ordered': collections.OrderedDict(a=1),
        'later': [collections.defaultdict(int, a=1), collections.defaultdict(str), range(3)],
        'last': collections.deque([1, 2], maxlen=2),
        'sets': [{1, 2}, frozenset('ab'), slice(1, 2), 1j],
        'time': [datetime.datetime(2024, 1, 2), datetime.date(2024, 1, 2), datetime.timedelta(days=1)],
        'zone': [datetime.timezone.utc, datetime.time(12)],
        'exact': [decimal.Decimal('1.5'), fractions.Fraction(1, 3), uuid.UUID(int=5)],
        'path': pathlib.PurePosixPath('/usr/local'),
        'settings': types.SimpleNamespace(lr=0.1),
        'log': io.BytesIO(b'text'),
        'type': torch.float16,
        'size': torch.Size([1, 2]),
        'device': torch.device('cpu'),
    }


TRAINERS = [files.vmamba_training, files.vim_training, files.mmengine_detector]


@pytest.mark.parametrize('kind', files.FORMATS)
def test_plain_files_are_read(tmp_path, kind):
    for make in TRAINERS:
        weights.read_checkpoint(make(tmp_path / 'x.pth', kind))
    for name, note in notes().items():
        files.save(tmp_path / 'x.pth', {'model': files.small_state(), name: note}, kind)
        found = weights.read_checkpoint(tmp_path / 'x.pth')
        assert same(found['model'], files.small_state())


def laughs(levels, times):
    """A list that holds another so many times, which holds a third ...: who prints it does not end."""
    value = ['lol']
    for _ in range(levels):
        value = [value] * times
    return value


@pytest.mark.parametrize('kind', files.FORMATS)
def test_a_billion_laughs_are_a_few_lists(tmp_path, kind):
    found = weights.read_checkpoint(files.save(tmp_path / 'x.pth', {'w': torch.ones(1), 'note': laughs(10, 10)}, kind))
    assert len(found['note']) == 10


@pytest.mark.parametrize('name', ['collections.abc.Iterable', 'yacs.config.CfgNode', 'torch.nn.modules.linear.Linear'])
def test_a_class_that_is_not_known_is_kept_and_does_nothing(tmp_path, name):
    module, _, name = name.rpartition('.')
    expression = payloads.named(module, name) + b')\x81' + b'}' + payloads.text('a') + b'K\x01sb'
    found = weights.read_checkpoint(files.raw_zip(tmp_path / 'x.pth', payloads.whole(payloads.in_a_state(expression))))
    assert repr(found['model']) == f'<{module}.{name}, not loaded>'


def test_what_is_refused_does_not_depend_on_the_version_of_python():
    from mmvssm.weights import inert

    gone = 'asynchat asyncore cgi cgitb crypt distutils imp lib2to3 nntplib pipes smtpd spwd telnetlib _aix_support'
    kept = {'_pyrepl', '_interpreters', 'os', 'builtins', 'http', 'logging', 'bdb'}
    assert kept.union(gone.split()) <= inert.DANGEROUS
    assert not inert.DANGEROUS & inert.PLAIN
    assert os.name in inert.DANGEROUS
