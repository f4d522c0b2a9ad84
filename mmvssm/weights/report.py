"""Comparing the names and shapes of a checkpoint's tensors with a model's."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor

from .errors import KeyMismatchError, listed, shown

Shape = tuple[int, ...]
Reshaped = tuple[str, Shape, Shape]  # name, shape in the model, shape in the file


@dataclass
class KeyReport:
    """A checkpoint's names sorted by what becomes of them. `ok` says whether nothing is wrong."""

    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # the model has it, the file does not, and that is an error
    expected_missing: list[str] = field(default_factory=list)  # ... and that is as it should be (out-norms)
    dropped: list[str] = field(default_factory=list)  # the file has it, the model should not (classifier)
    unexpected: list[str] = field(default_factory=list)  # the file has it, the model does not, and that is an error
    mismatched: list[Reshaped] = field(default_factory=list)  # the shapes differ, and that is an error
    adapted: list[Reshaped] = field(default_factory=list)  # ... of what was loaded, made to fit the model's input

    @property
    def ok(self) -> bool:
        return not self.wrong_names

    @property
    def wrong_names(self) -> list[str]:
        """The keys that are wrong."""
        return [*self.missing, *self.unexpected, *(name for name, *_ in self.mismatched)]

    @property
    def wrong(self) -> str:
        """One line on the keys that are wrong; empty where `ok`."""
        return '' if self.ok else self.summary()

    def summary(self) -> str:
        """One line: how many keys of each kind, and the first of them but for those that were loaded as they are."""
        parts = [f'{len(self.loaded)} loaded']
        for label, names in (('missing', self.missing), ('unexpected', self.unexpected)):
            if names:
                parts.append(f'{len(names)} {label} ({listed(names)})')
        if self.mismatched:
            name, want, got = self.mismatched[0]
            more = ', ...' if len(self.mismatched) > 1 else ''
            parts.append(
                f'{len(self.mismatched)} of a wrong shape ({shown(name)}: {_x(got)} instead of {_x(want)}{more})'
            )
        for label, names in (('dropped', self.dropped), ('kept fresh', self.expected_missing)):
            if names:
                parts.append(f'{len(names)} {label} ({listed(names)})')
        parts += [f'{shown(name)} adapted from {_x(got)} to {_x(want)}' for name, want, got in self.adapted]
        return ', '.join(parts)

    def __str__(self) -> str:
        lines = [f'{len(self.loaded)} tensors loaded']
        for label, names in (
            ('missing', self.missing),
            ('missing, as expected', self.expected_missing),
            ('left out, as expected', self.dropped),
            ('unexpected', self.unexpected),
        ):
            if names:
                lines.append(f'{len(names)} {label}: {listed(names, 12)}')
        lines += [
            f'wrong shape: {shown(name)} is {_x(got)}, should be {_x(want)}' for name, want, got in self.mismatched[:12]
        ]
        return '\n'.join(lines)

    def excusing(self, names: Iterable[str]) -> 'KeyReport':
        """The report without what is wrong with some names."""
        names = set(names)
        return replace(
            self,
            missing=[name for name in self.missing if name not in names],
            unexpected=[name for name in self.unexpected if name not in names],
            mismatched=[entry for entry in self.mismatched if entry[0] not in names],
        )

    def joined(self, place: str, rest: 'KeyReport') -> 'KeyReport':
        """The report on a larger model: this one's names with `place` before them, then those of the rest."""
        return KeyReport(
            *(
                [*((place + n[0], *n[1:]) if isinstance(n, tuple) else place + n for n in mine), *others]
                for mine, others in zip(vars(self).values(), vars(rest).values())
            )
        )

    def raise_if_wrong(self, what: str = 'the checkpoint', hint: str = '') -> None:
        """Two lines: the keys; `hint`.

        Raises:
            KeyMismatchError: it is not `ok`.
        """
        if not self.ok:
            raise KeyMismatchError(
                f'{what} does not fit the model: {self.summary()}.' + (f'\n{hint}' if hint else ''), self
            )


def sort_keys(
    expected: Mapping, got: Mapping, droppable: Iterable[str] = (), optional: Iterable[str] = ()
) -> KeyReport:
    """Sorts the names of a checkpoint against those of a model.

    A linear weight may be (O, I) on one side and (O, I, 1, 1) on the other: it is loaded, `fit` reshapes it.
    A name of a wrong shape that is both droppable and optional (a head for other classes) is dropped.

    Args:
        expected: name -> shape (or tensor) of the model.
        got: the same of the file.
        droppable: prefixes or shell patterns of names that the file may have and the model not ('classifier.').
        optional: prefixes or shell patterns of names that the model may have and the file not ('outnorm').
    """
    droppable, optional = tuple(droppable), tuple(optional)
    report = KeyReport()
    for name, want in expected.items():
        want = _shape(want)
        if name not in got:
            (report.expected_missing if _matches(name, optional) else report.missing).append(name)
        elif fits(want, have := _shape(got[name])):
            report.loaded.append(name)
        elif _matches(name, droppable) and _matches(name, optional):
            report.dropped.append(name)
            report.expected_missing.append(name)
        else:
            report.mismatched.append((name, want, have))
    for name in got:
        if name not in expected:
            (report.dropped if _matches(name, droppable) else report.unexpected).append(name)
    return report


def fits(want: Iterable[int], have: Iterable[int]) -> bool:
    """Whether two shapes are equal, or those of one linear weight as matrix and as 1x1 convolution."""
    want, have = tuple(want), tuple(have)
    short, long = sorted((want, have), key=len)
    return want == have or (len(short) == 2 and long == (*short, 1, 1))


def fit(tensor: Tensor, shape: Iterable[int]) -> Tensor:
    """The tensor in the model's shape, a 1x1 of a convolution added or removed.

    Raises:
        ValueError: the shapes differ by more.
    """
    if not fits(shape, tensor.shape):
        raise ValueError(f'a tensor of shape {_x(tensor.shape)} does not fit {_x(shape)}')
    return tensor.reshape(tuple(shape))


def _shape(value: Any) -> Shape:
    return tuple(getattr(value, 'shape', value))


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(name.startswith(pattern) or fnmatchcase(name, pattern) for pattern in patterns)


def _x(shape: Iterable[int]) -> str:
    return 'x'.join(map(str, shape)) or 'scalar'
