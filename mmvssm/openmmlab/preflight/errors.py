"""What went wrong while something was built from a config, in a line that says where it stands in it."""

import linecache
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from mmengine.config import Config

from mmvssm.errors import UsageError

from .keywords import keywords_of, with_parents
from .places import look_up, meant, nodes

SELF_EXPLAINING = (ValueError, TypeError, AssertionError, NotImplementedError, OSError)
LIMIT = 400  # characters of what another library says


@contextmanager
def named(cfg: Config, place: str) -> Iterator[None]:
    """Put the place in front of whatever goes wrong inside.

    Raises:
        UsageError: the same in a line or two.
    """
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f'{_exact_place(cfg, place, error)}: {words(error)}') from error


def words(error: BaseException) -> str:
    """What an error says, in two lines at most; what it asserted where it says nothing."""
    if isinstance(error, KeyError) and error.args:
        text = str(error.args[0])
        text = text if ' ' in text else f'{error.args[0]!r} is missing'
    else:
        text = str(error).strip()
    if (known := _of_registry(error)) is not None:
        return known
    if not text:
        text = _asserted(error)
    elif not isinstance(error, (*SELF_EXPLAINING, KeyError)):
        text = f'{type(error).__name__}: {text}'
    return '\n'.join(text.splitlines()[:2])[:LIMIT]


def _of_registry(error: BaseException) -> str | None:
    """mmengine's registries name what they do not know; what is near it, or what is allowed, comes from here."""
    frame = _innermost_frame(error)
    if frame is None:
        return None
    text, names = str(error.args[0]) if error.args else '', frame.f_locals
    if isinstance(error, KeyError) and ' is not in the ' in text and 'registry' in names:
        known = {name for one in with_parents(names['registry']) for name in one.module_dict}
        return text.partition('. ')[0] + meant(str(names.get('obj_type', '')).rpartition('.')[2], known)
    found = re.search(r"__init__\(\) got an unexpected keyword argument '(.*)'", text)
    if isinstance(error, TypeError) and found and 'obj_cls' in names:
        known = keywords_of(names['obj_cls']) or set()
        allowed = meant(found[1], known) or f'; allowed: {", ".join(sorted(known)) or "nothing"}'
        return f'{getattr(names["obj_cls"], "__name__", "it")} takes no {found[1]!r}{allowed}'
    return None


def place_in_files(error: BaseException, path: str | Path) -> str:
    """'c.py, line 3': the config file, or a base of it, that Python stumbled over, and where."""
    file, line, trace = str(path), None, error.__traceback__
    while trace is not None:
        code, frame = trace.tb_frame.f_code, trace.tb_frame
        if code.co_name == '_file2dict' and os.path.isfile(name := str(frame.f_locals.get('filename', file))):
            file = name
        elif code.co_name == '<module>' and 'temp_config_file' not in code.co_filename:
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError):
        line = error.lineno
    return f'{file}, line {line}' if line else file


def _asserted(error: BaseException) -> str:
    """The line of code that refused."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    line = linecache.getline(trace.tb_frame.f_code.co_filename, trace.tb_lineno).strip() if trace else ''
    return f'{type(error).__name__} ({line})' if line else type(error).__name__


def _exact_place(cfg: Config, place: str, error: BaseException) -> str:
    """The place of the innermost entry that was being built, and its class."""
    node = _innermost(error)
    if node is None:
        return place
    inside = [path for path, one in nodes(look_up(cfg, place), place) if _alike(one, node)]
    name = str(node.get('type', ''))
    return f'{inside[0] if inside else place} ({name})' if name else place


def _innermost(error: BaseException) -> dict | None:
    frame = _innermost_frame(error)
    found = None if frame is None else frame.f_locals.get('cfg')
    return found if isinstance(found, dict) else None


def _innermost_frame(error: BaseException) -> FrameType | None:
    """Of mmengine's function that builds an entry of a config."""
    found, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name == 'build_from_cfg':
            found = trace.tb_frame
        trace = trace.tb_next
    return found


def _alike(one: dict, other: Any) -> bool:
    """The same entry: mmengine's classes change and add keys on the way."""
    if one.get('type') != other.get('type'):
        return False
    return all(_same(one[key], other[key]) for key in set(one) & set(other))


def _same(a: Any, b: Any) -> bool:
    try:
        return bool(a == b)
    except Exception:  # arrays
        return False
