"""The payloads of fickling's and picklescan's own tests are refused, nothing of them is run; plain files are read."""

import encodings.cp437  # noqa: F401 - which zipfile imports at some names of entries
import os
import pathlib
import pickle
import re
import subprocess
import sys

import pytest

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


@pytest.mark.parametrize('kind', files.FORMATS)
@pytest.mark.parametrize('name', [*payloads.notes(), *payloads.TRAINERS])
def test_a_plain_file_is_read(tmp_path, kind, name):
    found = weights.read_checkpoint(payloads.write_plain(tmp_path / 'x.pth', name, kind))
    assert same(found.get('model', files.small_state()), files.small_state())


@pytest.mark.parametrize('again', [b'2' * 9, b'q\x00' + b'h\x00' * 9], ids=['dup', 'memo'])
def test_a_billion_laughs_are_a_few_lists(tmp_path, again):
    expression = b'(' * 9 + payloads.text('lol') + (again + b'l') * 9
    found = weights.read_checkpoint(files.raw_zip(tmp_path / 'x.pth', payloads.whole(payloads.in_a_state(expression))))
    assert len(found['model']) == len(found['model'][0]) == 10


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
