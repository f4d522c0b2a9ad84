"""Reads a torch file's pickle without importing or calling anything that it names.

`torch.load(weights_only=True)` refuses a file that pickles anything beside tensors, as training
checkpoints do (yacs and argparse configurations, mmengine's log buffers). Here tensors and plain
containers are rebuilt by the functions of this module, a class outside the list becomes an `Inert`
object that only keeps what the file says about it, and a request to call anything else is refused.
Both of torch's formats are read: the zip archive and the older stream.
"""

import math
import mmap
import os
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from .errors import CheckpointError, DamagedFileError, UnsafePickleError, first_line

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
}

# Modules whose mere mention is refused: nothing in them can describe a configuration.
_DANGEROUS = """
    builtins os posix nt sys subprocess commands shutil socket ctypes importlib runpy pty code codeop pickle _pickle
    marshal multiprocessing threading asyncio webbrowser urllib requests tempfile signal gc inspect types operator
    pip site pdb timeit cProfile profile platform
"""
DANGEROUS = frozenset(_DANGEROUS.split())
HARMLESS_BUILTINS = frozenset(('int', 'float', 'str', 'bool', 'bytes', 'list', 'tuple', 'dict', 'object', 'type'))


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
        raise UnsafePickleError(f'asks to call {type(self).__qualname__!r}')

    def __repr__(self) -> str:
        return f'<{type(self).__module__}.{type(self).__qualname__}, not loaded>'


class _Function:
    """Stands for a function: may be mentioned, is refused when called."""

    def __init__(self, name: str):
        self.name = name

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        raise UnsafePickleError(f'asks to call {self.name!r}')

    def __repr__(self) -> str:
        return f'<{self.name}, not loaded>'


class _Dtype:
    """numpy.dtype as pickled: a code such as 'f8', then a state that holds the byte order."""

    def __init__(self, code: Any = 'V', *flags: Any):
        self.code, self.order = str(code), '<'

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ('<', '>', '|', '='):
            self.order = state[1]


def _numpy_scalar(dtype: Any, data: Any = b'') -> bool | int | float | complex | None:
    """The Python number of a pickled numpy scalar; None for a kind that is not a number."""
    if not isinstance(dtype, _Dtype) or not re.fullmatch(r'[fiubc]\d{1,2}', dtype.code):
        return None
    data = data.encode('latin1') if isinstance(data, str) else data
    return np.frombuffer(data, np.dtype(dtype.order.replace('|', '<') + dtype.code), count=1)[0].item()


def _view(data: Tensor, offset: Any, size: Any, stride: Any, dtype: torch.dtype) -> Tensor:
    """A tensor on a storage (flat uint8 tensor), after a check that it stays inside."""
    ints = [offset, *size, *stride]
    if not all(isinstance(value, int) and 0 <= value < 2**62 for value in ints) or len(size) != len(stride):
        raise DamagedFileError('a tensor has an impossible shape')
    last = offset + sum((n - 1) * step for n, step in zip(size, stride)) if all(size) else offset - 1
    if (last + 1) * dtype.itemsize > data.numel():
        raise DamagedFileError('a tensor reaches outside of its data')
    flat = data[: data.numel() // dtype.itemsize * dtype.itemsize].view(dtype)
    return torch.as_strided(flat, tuple(size), tuple(stride), offset)


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor:
    return _view(storage[0], offset, size, stride, storage[1])


def _rebuild_tensor_v3(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, dtype: Any, *rest: Any
) -> Tensor:
    if not isinstance(dtype, torch.dtype):
        raise DamagedFileError('a tensor has no element type')
    return _view(storage[0], offset, size, stride, dtype)


def _first(value: Any, *rest: Any) -> Any:
    return value


def _from_type(function: Callable, new_type: Any, args: Sequence, *rest: Any) -> Any:
    if function not in (_rebuild_tensor, _rebuild_tensor_v3, _first):
        raise UnsafePickleError('asks for a tensor subclass to be rebuilt by code of its own')
    return function(*args)


def _reconstructor(cls: Any, *rest: Any) -> Inert | None:
    return cls() if isinstance(cls, type) and issubclass(cls, Inert) else None


def _encode(text: Any, *rest: Any) -> bytes:
    return str(text).encode('latin1')


CALLABLE: dict[str, Callable] = {
    'collections.OrderedDict': OrderedDict,
    'collections.defaultdict': lambda *args: {},
    'collections.Counter': lambda *args: dict(*args),
    'collections.deque': lambda items=(), *rest: list(items),
    'builtins.set': lambda items=(): set(items),
    'builtins.frozenset': lambda items=(): frozenset(items),
    'builtins.complex': complex,
    'builtins.slice': slice,
    'builtins.bytearray': lambda data=b'', *rest: _encode(data) if isinstance(data, str) else data,
    'builtins.getattr': lambda *args: None,
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
    'torch.device': lambda *args: ':'.join(map(str, args)),
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
        'datetime.timedelta',
        'functools.partial',
    )
)


def resolve(module: str, name: str) -> Any:
    """What a global `module.name` of the file becomes; the object itself only where the list above says so.

    Raises:
        UnsafePickleError: a module that can only serve to run code.
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
    if root in DANGEROUS and not (root == 'builtins' and name in HARMLESS_BUILTINS):
        raise UnsafePickleError(f'asks for {full!r}')
    leaf = name.rsplit('.', 1)[-1]
    if full in INERT_CALLS or leaf.lstrip('_')[:1].isupper():
        return type(leaf, (Inert,), {'__module__': module})
    return _Function(full)


LoadStorage = Callable[[str, int], Tensor]  # key of the storage, its bytes -> flat uint8 tensor


class _Unpickler(pickle._Unpickler):
    """The standard library's Python unpickler: its memo is a dict, so a damaged index costs no memory."""

    stack: list
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: Any, load_storage: LoadStorage):
        super().__init__(file, encoding='latin1')
        self.load_storage = load_storage

    def find_class(self, module: str, name: str) -> Any:
        return resolve(module, name)

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
        return self.load_storage(str(key), numel * kind.itemsize), kind

    def load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, (Inert, _Dtype)):
            target.__setstate__(state)
        elif isinstance(target, OrderedDict) and isinstance(state, dict):
            target.__dict__.update({key: value for key, value in state.items() if key == '_metadata'})

    dispatch[pickle.BUILD[0]] = load_build


def _bytes(buffer: mmap.mmap, start: int, count: int) -> Tensor:
    """`count` bytes of the file as a flat uint8 tensor, without a copy where they are aligned."""
    if start < 0 or count < 0 or start + count > len(buffer):
        raise DamagedFileError('the file ends early')
    if count == 0:
        return torch.empty(0, dtype=torch.uint8)
    flat = torch.frombuffer(buffer, dtype=torch.uint8, count=count, offset=start)
    return flat if start % 8 == 0 else flat.clone()


def _load_zip(buffer: mmap.mmap, path: str | os.PathLike) -> Any:
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        main = next(name for name in entries if name.endswith('data.pkl'))
        root = main[: -len('data.pkl')]
        order = archive.read(root + 'byteorder') if root + 'byteorder' in entries else b'little'
        if order != b'little':
            raise CheckpointError('was written on a big-endian machine')

        def load_storage(key: str, nbytes: int) -> Tensor:
            info = entries.get(f'{root}data/{key}')
            if info is None or nbytes > info.file_size:
                raise DamagedFileError(f'the data of tensor {key[:20]!r} are missing or short')
            names, extra = struct.unpack_from('<HH', buffer, info.header_offset + 26)
            return _bytes(buffer, info.header_offset + 30 + names + extra, nbytes)

        with archive.open(main) as stream:
            return _Unpickler(stream, load_storage).load()


def _load_legacy(buffer: mmap.mmap) -> Any:
    storages: dict[str, Tensor] = {}
    limit = len(buffer)

    def load_storage(key: str, nbytes: int) -> Tensor:
        if key not in storages:
            if sum(data.numel() for data in storages.values()) + nbytes > limit:
                raise DamagedFileError('the tensors are larger than the file')
            storages[key] = torch.empty(nbytes, dtype=torch.uint8)
        if storages[key].numel() != nbytes:
            raise DamagedFileError('a tensor has two different sizes')
        return storages[key]

    def no_storage(key: str, nbytes: int) -> Tensor:
        raise DamagedFileError('a tensor stands where none can be')

    if _Unpickler(buffer, no_storage).load() != LEGACY_MAGIC:
        raise DamagedFileError('its first bytes are not those of a torch file')
    _Unpickler(buffer, no_storage).load()  # protocol version
    system = _Unpickler(buffer, no_storage).load()
    if isinstance(system, dict) and system.get('little_endian') is False:
        raise CheckpointError('was written on a big-endian machine')
    result = _Unpickler(buffer, load_storage).load()
    keys = _Unpickler(buffer, no_storage).load()
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise DamagedFileError('its list of tensors is damaged')
    sizes = {key: data.numel() for key, data in storages.items()}
    for key in map(str, keys):
        header = buffer.read(8)
        count = struct.unpack('<q', header)[0] if len(header) == 8 else -1
        if count < 0 or (count and sizes[key] % count) or bool(count) != bool(sizes[key]):
            raise DamagedFileError(f'the data of tensor {key[:20]!r} are missing or short')
        start = buffer.tell()
        storages[key].copy_(_bytes(buffer, start, sizes[key]))
        buffer.seek(start + sizes[key])
    return result


def load(path: str | os.PathLike) -> Any:
    """The object that a torch file pickles; tensors on the CPU, foreign objects as `Inert`.

    Args:
        path: a file that starts as a zip archive or as torch's older stream.

    Raises:
        CheckpointError: of some kind; whatever goes wrong inside a damaged pickle is a DamagedFileError.
    """
    # memory of our own, not a map of the file: the tensors outlive its being overwritten or cut off
    buffer = mmap.mmap(-1, os.path.getsize(path))
    with open(path, 'rb') as file:
        file.readinto(buffer)
    try:
        return _load_legacy(buffer) if buffer[: len(LEGACY_START)] == LEGACY_START else _load_zip(buffer, path)
    except CheckpointError:
        raise
    except (MemoryError, RecursionError, Exception) as error:
        raise DamagedFileError(f'its pickle is damaged ({first_line(error, 120)})') from None


def tensors_in(value: Any, depth: int = 6) -> tuple[int, int]:
    """Number of tensors in a nested structure, and how many elements they have."""
    if isinstance(value, torch.Tensor):
        return 1, math.prod(value.shape)
    if depth == 0 or not isinstance(value, (dict, list, tuple)):
        return 0, 0
    counts = [tensors_in(item, depth - 1) for item in (value.values() if isinstance(value, dict) else value)]
    return sum(count for count, _ in counts), sum(size for _, size in counts)
