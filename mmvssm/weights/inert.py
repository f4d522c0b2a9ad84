"""Reads a torch file's pickle without importing or calling anything that it names.

`torch.load(weights_only=True)` refuses a file that pickles anything beside tensors, as training
checkpoints do (yacs and argparse configurations, mmengine's log buffers). Here tensors and plain
containers are rebuilt by the functions of this module, a class outside the list becomes an `Inert`
object that only keeps what the file says about it, and a request to call anything else is refused.
Both of torch's formats are read: the zip archive and the older stream.
"""

import io
import os
import pickle
import re
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .errors import CheckpointError, DamagedFileError, UnsafePickleError, first_line, quoted, shown

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_START = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'

DTYPES = {
    'FloatStorage': torch.float32,
    'DoubleStorage': torch.float64,
    'HalfStorage': torch.float16,
    'BFloat16Storage': torch.bfloat16,
    'LongStorage': torch.int64,
    'IntStorage': torch.int32,
    'ShortStorage': torch.int16,
    'CharStorage': torch.int8,
    'ByteStorage': torch.uint8,
    'BoolStorage': torch.bool,
    'UntypedStorage': torch.uint8,
    'ComplexFloatStorage': torch.complex64,
    'ComplexDoubleStorage': torch.complex128,
    # only how many bytes they have matters: quantised tensors are not rebuilt
    'QInt8Storage': torch.int8,
    'QUInt8Storage': torch.uint8,
    'QInt32Storage': torch.int32,
    'QUInt4x2Storage': torch.uint8,
    'QUInt2x4Storage': torch.uint8,
}
MOST_CLASSES = 10_000  # that a file may name: each costs a thousand times the bytes of its name
MOST_DIMENSIONS = 64

# Of the standard library, these modules hold classes that a configuration may be made of; of MORE_PLAIN, these names.
_PLAIN = """
    argparse array calendar collections configparser copy copyreg dataclasses datetime decimal enum fractions functools
    ipaddress math numbers optparse pathlib random re statistics string time typing uuid zoneinfo
"""
PLAIN = frozenset(_PLAIN.split())
# torch.save writes int, str and range under their names in Python 2: long, unicode and xrange
_PLAIN_BUILTINS = 'int long float str unicode bool bytes list tuple dict object type range xrange'
MORE_PLAIN = {
    'builtins': frozenset(_PLAIN_BUILTINS.split()),
    'types': frozenset(('SimpleNamespace',)),
    '_io': frozenset(('BytesIO', 'StringIO')),
}
# As able to run code, to open files or to reach a network: what other versions of Python had or have in their
# libraries (what is refused does not depend on the one that reads), and packages that files are known to misuse.
_OTHERS = """
    __builtins__ _pyrepl _interpreters _aix_support _osx_support asynchat asyncore cPickle cgi cgitb commands crypt
    distutils httplib imp lib2to3 nntplib pipes popen2 smtpd spwd telnetlib thread urllib2 xmlrpclib
    aiohttp cloudpickle dill fabric httpx paramiko pexpect pip pkg_resources requests setuptools urllib3 websocket
    fickling model_unpickler modelaudit modelscan picklescan saferpickle
"""
# Modules whose mere mention is refused: nothing in them can describe a configuration.
DANGEROUS = (sys.stdlib_module_names | frozenset(_OTHERS.split())) - PLAIN


class Inert:
    """Stands for an object of a class that was not imported: keeps what it is given and does nothing."""

    args: tuple
    kwargs: dict
    state: Any
    items: dict

    def __new__(cls, *args: Any, **kwargs: Any) -> 'Inert':
        self = object.__new__(cls)
        self.args, self.kwargs, self.state, self.items = args, kwargs, None, {}
        return self

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def append(self, value: Any) -> None:
        self.items[len(self.items)] = value

    add = append

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        raise UnsafePickleError(f'asks to call {quoted(type(self).__qualname__)}')

    def __repr__(self) -> str:
        return f'<{shown(class_name(self))}, not loaded>'


def class_name(value: Any) -> str:
    """Full name of a value's class, as the file has it."""
    return f'{type(value).__module__}.{type(value).__qualname__}'


class Unsupported:
    """Stands for a tensor that is not rebuilt: `what` it is, and why not."""

    def __init__(self, what: str):
        self.what = what


class _Function:
    """Stands for a function: may be mentioned; a file that asks to call it is refused."""

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f'<{shown(self.name)}, not loaded>'


def _refuse_call(function: Any) -> None:
    if isinstance(function, _Function):
        raise UnsafePickleError(f'asks to call {quoted(function.name)}')


def _text(value: Any) -> str:
    """A short value as text; never of a nested one, whose text may be endless."""
    if isinstance(value, (str, int, bytes)):
        return str(value)
    raise DamagedFileError('something else stands where a text should')


class _Dtype:
    """numpy.dtype as pickled: a code such as 'f8', then a state that holds the byte order."""

    def __init__(self, code: Any = 'V', *flags: Any):
        self.code, self.order = _text(code), '<'

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ('<', '>', '|', '='):
            self.order = state[1]


def _numpy_scalar(dtype: Any, data: Any = b'') -> bool | int | float | complex | None:
    """The Python number of a pickled numpy scalar; None for a kind that is not a number."""
    if not isinstance(dtype, _Dtype) or not re.fullmatch(r'[fiubc]\d{1,2}', dtype.code):
        return None
    data = data.encode('latin1') if isinstance(data, str) else data
    return np.frombuffer(data, np.dtype(dtype.order.replace('|', '<') + dtype.code), count=1)[0].item()


class _Storage(NamedTuple):
    """The data of tensors: flat uint8, and what they are."""

    data: Tensor
    dtype: torch.dtype


def _view(data: Tensor, offset: Any, size: Any, stride: Any, dtype: torch.dtype) -> Tensor:
    """A tensor on a storage (flat uint8 tensor), after a check that it stays inside."""
    ints = [offset, *size, *stride]
    if (
        not all(isinstance(value, int) and 0 <= value < 2**62 for value in ints)
        or len(size) != len(stride)
        or len(size) > MOST_DIMENSIONS
    ):
        raise DamagedFileError('a tensor has an impossible shape')
    last = offset + sum((n - 1) * step for n, step in zip(size, stride)) if all(size) else offset - 1
    if (last + 1) * dtype.itemsize > data.numel():
        raise DamagedFileError('a tensor reaches outside of its data')
    flat = data[: data.numel() // dtype.itemsize * dtype.itemsize].view(dtype)
    return torch.as_strided(flat, tuple(size), tuple(stride), offset)


def _rebuild_tensor(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any = False,
    hooks: Any = None,
    flags: Any = None,
    *rest: Any,
) -> Tensor:
    return _rebuild_tensor_v3(storage, offset, size, stride, requires_grad, hooks, storage.dtype, flags)


def _rebuild_tensor_v3(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any,
    hooks: Any,
    dtype: Any,
    flags: Any = None,
    *rest: Any,
) -> Tensor:
    if not isinstance(dtype, torch.dtype) or not isinstance(storage, _Storage):
        raise DamagedFileError('a tensor has no element type')
    tensor = _view(storage.data, offset, size, stride, dtype)
    flags = flags if isinstance(flags, dict) else {}
    tensor = tensor.conj().resolve_conj() if flags.get('conj') else tensor
    return -tensor if flags.get('neg') else tensor


def _unsupported(what: str) -> Callable[..., Unsupported]:
    return lambda *args: Unsupported(what)


def _first(value: Any, *rest: Any) -> Any:
    return value


def _from_type(function: Callable, new_type: Any, args: Sequence, *rest: Any) -> Any:
    if any(function is known for known in UNSUPPORTED.values()):
        return function()
    if not any(function is known for known in (_rebuild_tensor, _rebuild_tensor_v3, _first)):
        raise UnsafePickleError('asks for a tensor subclass to be rebuilt by code of its own')
    return function(*args)


def _reconstructor(cls: Any, *rest: Any) -> Inert | None:
    return cls() if isinstance(cls, type) and issubclass(cls, Inert) else None


def _attribute(owner: Any, name: Any, *rest: Any) -> _Function:
    return _Function(f'getattr(..., {_text(name)[:60]!r})')


def _encode(text: Any, *rest: Any) -> bytes:
    return _text(text).encode('latin1')


def _hashable(key: Any, depth: int = 3) -> Any:
    """A key of a dict or an item of a set, small enough to be hashed and compared at once.

    Python hashes a tuple that holds another twice, which holds a third twice ..., in 2^n steps.

    Raises:
        DamagedFileError: it is nested too deeply or too wide.
    """
    if isinstance(key, (tuple, frozenset)):
        if depth == 0 or len(key) > 64:
            raise DamagedFileError('a key of its dicts is a nested structure')
        for item in key:
            _hashable(item, depth - 1)
    elif isinstance(key, slice):
        raise DamagedFileError('a key of its dicts is a slice')
    return key


def _pairs(items: Any = ()) -> list[tuple[Any, Any]]:
    return [(_hashable(key), value) for key, value in (items.items() if isinstance(items, dict) else items)]


def _items(items: Any = ()) -> list[Any]:
    return [_hashable(item) for item in items]


# tensors that are refused with their name, in the words of MESSAGE
UNSUPPORTED: dict[str, Callable] = {
    'torch._utils._rebuild_sparse_tensor': _unsupported('a sparse tensor'),
    'torch._utils._rebuild_sparse_csr_tensor': _unsupported('a sparse tensor'),
    'torch._utils._rebuild_qtensor': _unsupported('a quantised tensor'),
    'torch._utils._rebuild_nested_tensor': _unsupported('a nested tensor'),
    'torch._utils._rebuild_meta_tensor_no_storage': _unsupported('a meta tensor, which holds no values'),
    'torch._utils._rebuild_wrapper_subclass': _unsupported('a tensor subclass'),
    'torch._utils._rebuild_device_tensor_from_numpy': _unsupported("another device's tensor, saved as an array"),
    'torch._utils._rebuild_device_tensor_from_cpu_tensor': _unsupported("another device's tensor"),
    'torch._utils._rebuild_xla_tensor': _unsupported("another device's tensor, saved as an array"),
}
CALLABLE: dict[str, Callable] = {
    **UNSUPPORTED,
    'torch.serialization._get_layout': _first,
    'collections.OrderedDict': lambda items=(): OrderedDict(_pairs(items)),
    'collections.defaultdict': lambda *args: {},
    'collections.Counter': lambda items=(): dict(_pairs(items)),
    'collections.deque': lambda items=(), *rest: list(items),
    'builtins.set': lambda items=(): set(_items(items)),
    'builtins.frozenset': lambda items=(): frozenset(_items(items)),
    'builtins.complex': complex,
    'builtins.slice': lambda *ends: slice(*_items(ends)),
    'builtins.bytearray': lambda data=b'', *rest: _encode(data) if isinstance(data, str) else data,
    'builtins.getattr': _attribute,
    '_codecs.encode': _encode,
    'copyreg._reconstructor': _reconstructor,
    'copyreg.__newobj__': _reconstructor,
    'torch._utils._rebuild_tensor': _rebuild_tensor,
    'torch._utils._rebuild_tensor_v2': _rebuild_tensor,
    'torch._utils._rebuild_tensor_v3': _rebuild_tensor_v3,
    'torch._utils._rebuild_parameter': _first,
    'torch._utils._rebuild_parameter_with_state': _first,
    'torch._tensor._rebuild_from_type_v2': _from_type,
    'torch._tensor._rebuild_from_type': _from_type,
    'torch.Size': lambda items=(): tuple(items),
    'torch.device': lambda *args: ':'.join(map(_text, args)),
    'numpy.dtype': _Dtype,
    'numpy.core.multiarray.scalar': _numpy_scalar,
    'numpy._core.multiarray.scalar': _numpy_scalar,
}
# Functions and lower-case classes that rebuild plain data of no interest here: what they give stays inert.
INERT_CALLS = frozenset(
    (
        'numpy.ndarray',
        'numpy.core.multiarray._reconstruct',
        'numpy._core.multiarray._reconstruct',
        'numpy.random._pickle.__randomstate_ctor',
        'numpy.random._pickle.__bit_generator_ctor',
        'datetime.datetime',
        'datetime.date',
        'datetime.time',
        'datetime.timedelta',
        'datetime.timezone',
        'functools.partial',
        'builtins.range',
        'builtins.xrange',
    )
)


def resolve(module: str, name: str) -> Any:
    """What a global `module.name` of the file becomes; the object itself only where the list above says so.

    Raises:
        UnsafePickleError: a module of which no checkpoint needs anything, as most of the standard library.
    """
    module = {'__builtin__': 'builtins', 'copy_reg': 'copyreg'}.get(module, module)
    full = f'{module}.{name}'[:120]
    if full in CALLABLE:
        return CALLABLE[full]
    if module in ('torch', 'torch.storage') and name in DTYPES:
        return DTYPES[name]
    if module == 'torch' and isinstance(vars(torch).get(name), torch.dtype):
        return vars(torch)[name]
    root = module.split('.')[0]
    if root in DANGEROUS and name not in MORE_PLAIN.get(module, ()):
        raise UnsafePickleError(f'asks for {quoted(full)}')
    leaf = name.rsplit('.', 1)[-1]
    if full in INERT_CALLS or leaf.lstrip('_')[:1].isupper():
        return type(leaf, (Inert,), {'__module__': module})
    return _Function(full)


LoadStorage = Callable[[str, int], Tensor]  # key of the storage, its bytes -> flat uint8 tensor


class _Bounded:
    """A file that is never asked for more bytes than it has left, whatever length a pickle announces."""

    def __init__(self, file: BinaryIO | zipfile.ZipExtFile, size: int):
        self.file, self.size = file, size

    def read(self, count: int) -> bytes:
        return self.file.read(min(count, self.size))

    def readline(self) -> bytes:
        return self.file.readline(self.size)


_Base: Any = pickle._Unpickler  # its loaders are unknown to the type checker


class _Unpickler(pickle._Unpickler):
    """The standard library's Python unpickler: its memo is a dict, so a damaged index costs no memory.

    Args:
        stream: what is read.
        load_storage: how the data of tensors are had.
    """

    stack: list
    metastack: list[list]
    read: Callable[[int], bytes]
    append: Callable[[Any], None]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, stream: _Bounded, load_storage: LoadStorage):
        super().__init__(stream, encoding='latin1')
        self.load_storage = load_storage
        self.found: dict[tuple[str, str], Any] = {}
        self.left = 8 * stream.size + 1_000_000  # items that calls may be given: one list may be copied over and over

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.found:
            if len(self.found) >= MOST_CLASSES:
                raise DamagedFileError(f'it names more than {MOST_CLASSES} classes')
            self.found[module, name] = resolve(module, name)
        return self.found[module, name]

    def get_extension(self, code: int) -> None:
        raise UnsafePickleError('uses an extension code')

    def persistent_load(self, pid: Any) -> Any:
        if isinstance(pid, tuple) and len(pid) == 4 and pid[0] == 'module':
            return pid[1]  # the class of a pickled module, followed by its source, in the older stream
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] not in ('storage', b'storage'):
            raise DamagedFileError('a tensor does not say where its data are')
        kind, key, _, numel = pid[1:5]
        if not isinstance(kind, torch.dtype) or not isinstance(numel, int) or numel < 0:
            raise DamagedFileError('a tensor does not say where its data are')
        if len(pid) > 5 and pid[5] is not None:
            raise CheckpointError('holds views of storages, as torch before 0.4 wrote them.\nSave it again there.')
        return _Storage(self.load_storage(_text(key), numel * kind.itemsize), kind)

    def load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, (Inert, _Dtype)):
            target.__setstate__(state)
        elif isinstance(target, OrderedDict) and isinstance(state, dict) and '_metadata' in state:
            target.__dict__['_metadata'] = state['_metadata']
        elif isinstance(target, _Function) or callable(target):  # pickle would set attributes of it
            raise UnsafePickleError(f'asks to change {quoted(getattr(target, "name", "a class or function"))}')

    def load_reduce(self) -> None:
        self.left -= sum(len(arg) for arg in self.stack[-1] if isinstance(arg, (str, bytes, list, tuple, dict, set)))
        self.left -= len(self.stack[-1])
        if self.left < 0:
            raise DamagedFileError('its objects unfold to far more than it holds')
        _refuse_call(self.stack[-2])
        _Base.load_reduce(self)

    def _instantiate(self, klass: Any, args: Any) -> None:
        _refuse_call(klass)
        _Base._instantiate(self, klass, args)

    def load_setitem(self) -> None:
        self._set_items(self.stack[-3], [self.stack.pop(-2), self.stack.pop()])

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self._set_items(self.stack[-1], items)

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set_items(self.stack[-1], items)

    def _set_items(self, target: Any, items: list) -> None:
        if not isinstance(target, (dict, Inert)):
            raise DamagedFileError('what is no dict is filled as one')
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_hashable(key)] = value

    def load_additems(self) -> None:
        _items(self.stack)
        _Base.load_additems(self)

    def load_frozenset(self) -> None:
        _items(self.stack)
        _Base.load_frozenset(self)

    def load_bytearray8(self) -> None:
        (length,) = struct.unpack('<Q', self.read(8))
        self.append(self.read(length))  # the standard library's makes room for what is announced

    def pop_mark(self) -> list:
        items, self.stack = self.stack, self.metastack.pop()
        self.append = self.stack.append
        return items

    dispatch.update(
        {
            pickle.BUILD[0]: load_build,
            pickle.REDUCE[0]: load_reduce,
            pickle.SETITEM[0]: load_setitem,
            pickle.SETITEMS[0]: load_setitems,
            pickle.DICT[0]: load_dict,
            pickle.ADDITEMS[0]: load_additems,
            pickle.FROZENSET[0]: load_frozenset,
            pickle.BYTEARRAY8[0]: load_bytearray8,
        }
    )


def _fill(data: Tensor, file: BinaryIO) -> Tensor:
    """Reads a storage's bytes from where the file stands."""
    if data.numel() and file.readinto(memoryview(data.numpy())) != data.numel():  # type: ignore[attr-defined]
        raise DamagedFileError('the file ends early')
    return data


def _end(file: BinaryIO) -> None:
    """What follows the end of a checkpoint is nothing that torch wrote: another pickle, or another file."""
    if file.read(1):
        raise DamagedFileError('something follows its end')


class _Storages(dict[str, Tensor]):
    """Key -> room for the bytes of a storage: once for each, and altogether no more than the file has."""

    def __init__(self, limit: int):
        super().__init__()
        self.left = limit

    def room(self, key: str, nbytes: int) -> bool:
        """Whether room had to be made."""
        if key in self and self[key].numel() != nbytes:
            raise DamagedFileError('a tensor has two different sizes')
        if new := key not in self:
            self.left -= nbytes
            if self.left < 0:
                raise DamagedFileError('the tensors are larger than the file')
            self[key] = torch.empty(nbytes, dtype=torch.uint8)
        return new


def _load_zip(file: BinaryIO, size: int) -> Any:
    storages = _Storages(size)
    with zipfile.ZipFile(file) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        main = next(name for name in entries if name == 'data.pkl' or name.endswith('/data.pkl'))
        root = main[: -len('data.pkl')]
        order = archive.read(root + 'byteorder') if root + 'byteorder' in entries else b'little'
        if order != b'little':
            raise CheckpointError('was written on a big-endian machine.\nSave it again on a little-endian machine.')

        def load_storage(key: str, nbytes: int) -> Tensor:
            info = entries.get(f'{root}data/{key}')
            if info is None or nbytes > info.file_size:
                raise DamagedFileError(f'the data of tensor {quoted(key)} are missing or short')
            if storages.room(key, nbytes):
                file.seek(info.header_offset + 26)
                names, extra = struct.unpack('<HH', file.read(4))
                file.seek(info.header_offset + 30 + names + extra)
                _fill(storages[key], file)
            return storages[key]

        # the pickle is read first: zipfile seeks the file that the storages are read from
        pickled = archive.read(main)
        stream = io.BytesIO(pickled)
        content = _Unpickler(_Bounded(stream, len(pickled)), load_storage).load()
        _end(stream)
        return content


def _load_legacy(file: BinaryIO, size: int) -> Any:
    storages = _Storages(size)

    def load_storage(key: str, nbytes: int) -> Tensor:
        storages.room(key, nbytes)
        return storages[key]

    def no_storage(key: str, nbytes: int) -> Tensor:
        raise DamagedFileError('a tensor stands where none can be')

    def load(how: LoadStorage = no_storage) -> Any:
        return _Unpickler(_Bounded(file, size), how).load()

    if load() != LEGACY_MAGIC:
        raise DamagedFileError('its first bytes are not those of a torch file')
    load()  # protocol version
    system = load()
    if isinstance(system, dict) and system.get('little_endian') is False:
        raise CheckpointError('was written on a big-endian machine.\nSave it again on a little-endian machine.')
    result = load(load_storage)
    keys = load()
    if not isinstance(keys, list) or sorted(map(_text, keys)) != sorted(storages):
        raise DamagedFileError('its list of tensors is damaged')
    for key in map(_text, keys):
        header = file.read(8)
        count = struct.unpack('<q', header)[0] if len(header) == 8 else -1
        nbytes = storages[key].numel()
        if count < 0 or (count and nbytes % count) or bool(count) != bool(nbytes):
            raise DamagedFileError(f'the data of tensor {quoted(key)} are missing or short')
        _fill(storages[key], file)
    _end(file)
    return result


def load(path: str | os.PathLike) -> Any:
    """The object that a torch file pickles; tensors on the CPU, foreign objects as `Inert`.

    Each storage is read from the file once, into memory of its own: a map would change with the file.

    Args:
        path: a file that starts as a zip archive or as torch's older stream.

    Raises:
        CheckpointError: of some kind; whatever goes wrong inside a damaged pickle is a DamagedFileError.
    """
    with open(path, 'rb') as file:
        size = os.fstat(file.fileno()).st_size
        legacy = file.read(len(LEGACY_START)) == LEGACY_START
        file.seek(0)
        try:
            return (_load_legacy if legacy else _load_zip)(file, size)
        except CheckpointError:
            raise
        except (MemoryError, RecursionError, Exception) as error:
            raise DamagedFileError(f'its pickle is damaged ({first_line(error, 120)})') from None
