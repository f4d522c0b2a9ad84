"""The backbones as config entries: `backbone=dict(type='mmvssm.LocalVMamba', arch='tiny', ...)`.

Each family of `mmvssm.backbones` is registered under its class name in mmengine's root `MODELS`, which mmdet, mmseg
and mmpretrain all fall back to, and in a child registry that gives the prefix `mmvssm.` a meaning. `import mmvssm` does
this where mmengine is installed; mmengine itself looks in this module for names with the prefix. It imports mmengine's
registry and changes nothing of it: the rest of OpenMMLab comes, and is patched, with `mmvssm.openmmlab`.
"""

import inspect
from typing import TYPE_CHECKING, Any

from mmengine.config.lazy import LazyAttr, LazyObject
from mmengine.registry import MODELS as ROOT
from mmengine.registry import Registry
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmvssm.backbones import FAMILIES, Backbone, Family, all_fields, load_weights
from mmvssm.settings import Path, check_all, check_int, fields_of, listed, refuse, reject_unknown

if TYPE_CHECKING:  # what it is mixed into
    Mixed = Backbone
else:
    Mixed = object

PRETRAINED_KEYS = {'type', 'checkpoint', 'prefix'}
MODELS = Registry('model', parent=ROOT, scope='mmvssm')


class ConfigBackbone(Mixed):
    """What a config may say about any family, on top of the family's own constructor arguments.

    Args:
        arch: name of a variant, with or without the family's `prefix`; or a dict of constructor arguments; or None
            when these are given as keywords. Keywords override the variant's numbers.
        out_indices: which maps to return; None for all.
        out_norms: put the official norm on each map.
        frozen_stages: stop gradients of the stem (0) and of that many stages; -1 freezes nothing.
        norm_eval: keep BatchNorm layers in evaluation mode.
        with_cp: recompute blocks in the backward pass, to save memory.
        init_cfg: None, or dict(type='Pretrained', checkpoint=PATH_OR_URL); loaded strictly, every key accounted for.
        pretrained: the same as a bare path, for older configs.

    Raises:
        ValueError, TypeError: one line that names the field and what is allowed.
    """

    family: Family

    def __init__(
        self,
        arch: str | dict | None = None,
        *,
        out_indices=None,
        out_norms: bool = True,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | None = None,
        pretrained: str | None = None,
        **kwargs,
    ):
        name, numbers = _resolve_arch(self.family, arch)
        fields = {field: _built(value) for field, value in {**numbers, **kwargs}.items()}
        _reject_unknown(self.family, fields)
        _reject_own(numbers)
        given = dict(frozen_stages=frozen_stages, norm_eval=norm_eval, with_cp=with_cp, pretrained=pretrained)
        own: dict[str, Any] = check_all(given, self.settings_in_full)
        init_cfg = _check_init_cfg(init_cfg, pretrained)
        fields |= dict(out_indices=out_indices, out_norms=out_norms, features_only=True)
        _check_frozen_stages(self.family, own['frozen_stages'], check_all(fields, self.settings_in_full))
        super().__init__(**fields)
        if name is not None:
            self.variant = name
        self.init_cfg, self.norm_eval = init_cfg, own['norm_eval']
        self.is_init = False
        self.set_grad_checkpointing(own['with_cp'])
        self.freeze(own['frozen_stages'])

    def init_weights(self) -> None:
        """Load `init_cfg`'s checkpoint; without one the constructor has drawn the weights already.

        Raises:
            mmvssm.weights.CheckpointError: the file is unreadable or belongs to another model.
        """
        if self.init_cfg is not None:
            load_weights(self, self.init_cfg['checkpoint'])
        self.is_init = True

    def train(self, mode: bool = True):
        """As usual, but frozen stages (and, on request, BatchNorm) stay in evaluation mode."""
        super().train(mode)
        for module in self.modules() if mode and self.norm_eval else ():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self


def _built(value):
    """A config in pure Python holds what it imports as lazy objects, and those inside of lists are left to us."""
    if isinstance(value, LazyAttr | LazyObject):
        return value.build()
    return [_built(v) for v in value] if isinstance(value, list | tuple) else value


def _resolve_arch(family: Family, arch: str | dict | None) -> tuple[str | None, dict]:
    if arch is None or isinstance(arch, dict):
        return None, dict(arch or {})
    if not isinstance(arch, str) or arch not in family.arches:
        refuse('arch', arch, f'{listed(family.arches)}, a dict of constructor arguments')
    name = family.arches[arch]
    return name, family.variants[name].numbers


def _reject_unknown(family: Family, kwargs: dict) -> None:
    reserved = ('features_only', 'num_classes')  # a backbone in a config has maps, no classifier
    allowed = [name for name in family.arguments if name not in reserved]
    reject_unknown(family.cls.__name__, kwargs, list(dict.fromkeys([*_own_fields(), *allowed])), 'field')


def _own_fields() -> list[str]:
    return fields_of(inspect.signature(ConfigBackbone))


def _reject_own(numbers: dict) -> None:
    """What stands beside `arch` would overrule it without a word."""
    for name in _own_fields():
        if name in numbers:
            raise TypeError(f'arch got {name!r}; allowed: arguments that say what the network is, {name} beside arch')


def _check_frozen_stages(family: Family, frozen_stages: int, fields: dict) -> None:
    number = family.cls.num_freezable(all_fields(family.cls, fields))
    if number is not None:
        check_int('frozen_stages', frozen_stages, range(-1, number + 1))


def _check_init_cfg(init_cfg, pretrained) -> dict | None:
    if init_cfg is not None and pretrained is not None:
        raise ValueError('init_cfg and pretrained name the same thing; give one of them')
    if pretrained is not None:
        init_cfg = dict(type='Pretrained', checkpoint=pretrained)
    if init_cfg is None:
        return None
    if not _is_pretrained(init_cfg):
        refuse('init_cfg', init_cfg, "None or dict(type='Pretrained', checkpoint=...)")
    # a detector's file is recognised by itself, so the prefix that mmengine would need says nothing new
    if init_cfg.get('prefix', 'backbone.') not in ('backbone', 'backbone.'):
        refuse('init_cfg.prefix', init_cfg['prefix'], "'backbone.'")
    return dict(init_cfg)


def _is_pretrained(init_cfg) -> bool:
    if not isinstance(init_cfg, dict) or init_cfg.get('type') != 'Pretrained':
        return False
    return {'type', 'checkpoint'} <= init_cfg.keys() <= PRETRAINED_KEYS and Path().fits(init_cfg['checkpoint'])


def register() -> list[str]:
    """Make every family known to mmengine's root registry; returns the names. Calling it again is harmless."""
    for family in FAMILIES.values():
        name = family.cls.__name__
        if name not in ROOT.module_dict:
            members = {'family': family, '__doc__': family.cls.__doc__, '__module__': __name__}
            cls = type(name, (ConfigBackbone, family.cls), members)
            globals()[name] = cls  # importable, so that configs can name the class itself and models can be pickled
            ROOT.register_module(name=name, module=cls)
            MODELS.register_module(name=name, module=cls)
    return [family.cls.__name__ for family in FAMILIES.values()]


def build(cfg: dict) -> nn.Module:
    """A backbone from its config entry."""
    return MODELS.build(cfg)


register()
