"""What an argument may be, said once, and checked before a constructor does anything.

A setting takes a value, as Python or numpy writes it, and gives it back as plain Python; or it refuses it in one line,
`FIELD=VALUE is not supported; allowed: ...`. `checked` puts a table of them before a constructor.
"""

import functools
import inspect
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, NoReturn

import numpy as np

LONGEST = 80  # characters of a value in an error


def short(value: Any) -> str:
    """The value's repr on one line, cut to `LONGEST` characters."""
    text = re.sub(r'\s+', ' ', repr(value))
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + '...'


def refuse(field: str, value: Any, allowed: str) -> NoReturn:
    """Raise the ValueError that names the field and what is allowed."""
    raise ValueError(f'{field}={short(value)} is not supported; allowed: {allowed}')


def listed(allowed: Iterable) -> str:
    """The values that are allowed, in words."""
    return ', '.join(str(one) or "''" for one in allowed)


def is_list(value: Any) -> bool:
    """Whether a value is a list, a tuple, an array or the like, and no text."""
    return (isinstance(value, Sequence) and not isinstance(value, str | bytes)) or (
        isinstance(value, np.ndarray) and value.ndim > 0
    )


class Setting:
    """What a field may be.

    Attributes:
        words: what is allowed, for errors.
    """

    words: str

    def fits(self, value: Any) -> bool:
        """Whether the value is allowed."""
        raise NotImplementedError

    def plain(self, value: Any) -> Any:
        """A value that is allowed, without numpy's types."""
        return value

    def check(self, field: str, value: Any) -> Any:
        """The value in plain Python.

        Raises:
            ValueError: one line that names the field and what is allowed.
        """
        if not self.fits(value):
            refuse(field, value, self.words)
        return self.plain(value)


class Anything(Setting):
    """Whatever the relations of the constructor let through: it depends on other fields."""

    words = 'anything'

    def fits(self, value: Any) -> bool:
        return True


class Flag(Setting):
    """True or False; 0 and 1 are none."""

    words = 'True, False'

    def fits(self, value: Any) -> bool:
        return isinstance(value, bool | np.bool_)

    def plain(self, value: Any) -> bool:
        return bool(value)


@dataclass(frozen=True)
class Int(Setting):
    """An integer of Python's or numpy's from `low` to `high`, on request an odd one; True is none."""

    low: int | None = None
    high: int | None = None
    odd: bool = False

    @property
    def words(self) -> str:  # type: ignore[override]
        if self.low is None:
            return 'an int'
        kind = 'odd int' if self.odd else 'int'
        return f'{self.low} to {self.high} ({kind})' if self.high is not None else f'{self.low} or more ({kind})'

    def fits(self, value: Any) -> bool:
        return (
            isinstance(value, Integral)
            and not isinstance(value, bool)
            and (self.low is None or int(value) >= self.low)
            and (self.high is None or int(value) <= self.high)
            and (not self.odd or int(value) % 2 == 1)
        )

    def plain(self, value: Any) -> int:
        return int(value)


class OneOf(Setting):
    """One of some words, or None; or of some integers."""

    def __init__(self, *allowed: str | int | None):
        self.allowed = allowed
        self.words = listed(allowed)

    def fits(self, value: Any) -> bool:
        if isinstance(value, str | None):
            return value in self.allowed
        return Int().fits(value) and int(value) in self.allowed

    def plain(self, value: Any) -> str | int | None:
        return value if isinstance(value, str | None) else int(value)


@dataclass(frozen=True)
class Number(Setting):
    """A finite number of Python's or numpy's from `low` to `high`; the ends themselves may be left out."""

    low: float | None = None
    high: float | None = None
    above: bool = False
    below: bool = False

    @property
    def words(self) -> str:  # type: ignore[override]
        if self.low is None:
            return 'a finite number'
        if self.high is None:
            return f'above {self.low}' if self.above else f'{self.low} or more'
        left_out = [f', not {end}' for end, out in ((self.low, self.above), (self.high, self.below)) if out]
        return f'{self.low} to {self.high}{"".join(left_out)}'

    def fits(self, value: Any) -> bool:
        if not isinstance(value, Real) or isinstance(value, bool):
            return False
        try:
            number = float(value)
        except OverflowError:
            return False
        return math.isfinite(number) and self._reaches(number)

    def _reaches(self, number: float) -> bool:
        low, high = self.low, self.high
        over = low is None or (number > low if self.above else number >= low)
        return over and (high is None or (number < high if self.below else number <= high))

    def plain(self, value: Any) -> int | float:
        return int(value) if isinstance(value, Integral) else float(value)


class Text(Setting):
    """Text that is not empty."""

    words = 'text'

    def fits(self, value: Any) -> bool:
        return isinstance(value, str) and value != ''


class Path(Setting):
    """A path or URL."""

    words = 'a path or URL'

    def fits(self, value: Any) -> bool:
        return isinstance(value, str | os.PathLike) and str(value) != ''


class Config(Setting):
    """A dict, as configs build things from."""

    words = 'a dict'

    def fits(self, value: Any) -> bool:
        return isinstance(value, dict)


@dataclass(frozen=True)
class Each(Setting):
    """A list of what `item` allows, of `length` entries or of any number but none; made a tuple."""

    item: Setting
    length: int | None = None

    @property
    def words(self) -> str:  # type: ignore[override]
        return f'a list{f" of {self.length}" if self.length else ""}, each {self.item.words}'

    def fits(self, value: Any) -> bool:
        if not is_list(value) or len(value) == 0 or self.length not in (None, len(value)):
            return False
        return all(self.item.fits(one) for one in value)

    def plain(self, value: Any) -> tuple:
        return tuple(self.item.plain(one) for one in value)


class Either(Setting):
    """What one of some settings allows."""

    def __init__(self, *settings: Setting):
        self.settings = settings
        self.words = ', or '.join(setting.words for setting in settings)

    def fits(self, value: Any) -> bool:
        return any(setting.fits(value) for setting in self.settings)

    def plain(self, value: Any) -> Any:
        return next(setting for setting in self.settings if setting.fits(value)).plain(value)


class OrNone(Setting):
    """None, or what a setting allows."""

    def __init__(self, setting: Setting):
        self.setting = setting
        self.words = f'None, {setting.words}'

    def fits(self, value: Any) -> bool:
        return value is None or self.setting.fits(value)

    def plain(self, value: Any) -> Any:
        return None if value is None else self.setting.plain(value)


Table = Mapping[str, Setting]


def check_choice(field: str, value: Any, allowed: Sequence) -> None:
    """Raise a ValueError that names the field and what is allowed, unless `value` is one of `allowed`."""
    if value not in allowed:
        refuse(field, value, listed(allowed))


def check_int(field: str, value: Any, allowed: Sequence[int]) -> None:
    """Raise a ValueError that names the field and what is allowed, unless `value` is an int in `allowed`."""
    setting = Int(allowed[0], allowed[-1]) if isinstance(allowed, range) else OneOf(*allowed)
    setting.check(field, value)


def check_all(values: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """The values in plain Python; what has no entry in the table stays as it is.

    Raises:
        ValueError: one line that names the first field that is wrong, and what is allowed.
    """
    return {field: table[field].check(field, value) if field in table else value for field, value in values.items()}


def fields_of(signature: inspect.Signature) -> list[str]:
    """The parameters that have a name to the caller."""
    return [name for name, p in signature.parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def reject_unknown(owner: str, given: Iterable[str], allowed: Sequence[str], word: str = 'argument') -> None:
    """Raise a TypeError that names what is allowed where `owner` is given an argument that it has not."""
    for name in given:
        if name not in allowed:
            raise TypeError(f'{owner} got an unknown {word} {name!r}; allowed: {", ".join(allowed)}')


def require_entries(owner: str, fields: Iterable[str], table: Table, where: str) -> None:
    """Raise a TypeError where the table forgets a field."""
    for field in fields:
        if field not in table:
            raise TypeError(f'{owner}: the argument {field!r} has no setting; declare what it may be in {where}')


def bound(
    owner: str, signature: inspect.Signature, args: tuple, kwargs: Mapping[str, Any], table: Table
) -> inspect.BoundArguments:
    """The arguments of a call, checked against the table, in plain Python.

    Raises:
        ValueError: one is not as the table wants it.
        TypeError: one is unknown or missing.
    """
    if not any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
        reject_unknown(owner, kwargs, fields_of(signature))
    given = signature.bind(*args, **kwargs)
    given.arguments.update(check_all(given.arguments, table))
    return given


def checked(**table: Setting) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator of a constructor: its arguments are checked against the table before it runs.

    Raises (where the constructor is defined):
        TypeError: an argument without an entry in the table.
    """

    def decorate(init: Callable[..., None]) -> Callable[..., None]:
        _, *parameters = inspect.signature(init).parameters.values()
        signature = inspect.Signature(parameters)
        owner = init.__qualname__.removesuffix('.__init__')
        require_entries(owner, fields_of(signature), table, 'its @checked')

        @functools.wraps(init)
        def checking(self: Any, *args: Any, **kwargs: Any) -> None:
            given = bound(owner, signature, args, kwargs, table)
            init(self, *given.args, **given.kwargs)

        return checking

    return decorate
