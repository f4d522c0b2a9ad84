"""Families and their variants by name."""

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any

from torch import Tensor

from mmvssm import weights
from mmvssm.settings import fields_of, reject_unknown, require_entries

from ._backbone import Backbone

StateDict = dict[str, Tensor]


class Variant:
    """A network that has a name.

    Args:
        about: a sentence on it.
        **numbers: constructor arguments of its family.
    """

    def __init__(self, about: str, **numbers: Any):
        self.about, self.numbers = about, numbers


@dataclass(frozen=True)
class Family:
    """What stands at the end of a family's file.

    Raises:
        TypeError: an argument of the backbone's constructor has no setting.

    Attributes:
        cls: the backbone.
        prefix: what `arch=` in a config may leave out of a variant's name.
        checkpoint_filter_fn: (state dict, model) -> the state dict under the model's names, in its shapes.
        variants: name -> variant.
        short_names: further words that `arch=` takes for a variant.
    """

    cls: type[Backbone]
    prefix: str
    checkpoint_filter_fn: Callable[[StateDict, Any], StateDict]
    variants: dict[str, Variant]
    short_names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        name = self.cls.__name__
        where = f'{name}.settings or in mmvssm/backbones/_settings.py'
        require_entries(name, fields_of(inspect.signature(self.cls)), self.cls.settings_in_full, where)

    @property
    def arguments(self) -> list[str]:
        """Names of the constructor's arguments."""
        return list(inspect.signature(self.cls).parameters)

    @property
    def arches(self) -> dict[str, str]:
        """What `arch=` in a config may say -> the variant's name: short names first, then whole ones."""
        short = {name.removeprefix(self.prefix): name for name in self.variants if name.startswith(self.prefix)}
        return {**self.short_names, **short, **{name: name for name in self.variants}}

    def check_arguments(self, name: str, given: dict[str, Any]) -> None:
        """Raise a TypeError that names what is allowed where `name` is given an argument that the family has not."""
        reject_unknown(name, given, self.arguments)

    def build(self, name: str, **kwargs: Any) -> Backbone:
        """The variant `name`, with its numbers overridden by `kwargs`."""
        self.check_arguments(name, kwargs)
        model = self.cls(**{**self.variants[name].numbers, **kwargs})
        model.variant = name
        return model


FAMILIES: dict[type, Family] = {}


def list_models(pattern: str = '*') -> list[str]:
    """Names of the registered variants, sorted; `pattern` is a shell wildcard such as 'vmamba_*'."""
    return sorted(name for family in FAMILIES.values() for name in family.variants if fnmatch(name, pattern))


def family_named(name: str) -> Family | None:
    """The family whose backbone is the class of this name."""
    return next((family for family in FAMILIES.values() if family.cls.__name__ == name), None)


def family_of(model: Backbone | str) -> Family:
    """The family of a model (of a subclass elsewhere too, such as an OpenMMLab plugin), or of a variant's name.

    Args:
        model: a backbone, a variant's name, or a published checkpoint's.

    Raises:
        ValueError: an unknown name; the message lists near ones.
    """
    if isinstance(model, Backbone):
        return next(FAMILIES[cls] for cls in type(model).__mro__ if cls in FAMILIES)
    variant, dot, _ = model.partition('.')
    found = next((family for family in FAMILIES.values() if variant in family.variants), None)
    if found is None:
        known = [*list_models(), *weights.PUBLISHED]
        near = difflib.get_close_matches(model, known, n=4, cutoff=0.4) or list_models()
        raise ValueError(f'unknown model {model!r}; did you mean {", ".join(near)}? (mmvssm.list_models() has all)')
    if dot and model not in weights.PUBLISHED:
        tags = ', '.join(c.name for c in weights.PUBLISHED.values() if c.model == variant)
        raise ValueError(f'unknown model {model!r}; of {variant} are published: {tags or "none"}')
    return found
