"""Variants as timm knows them: entry points, configurations, tags of published checkpoints."""

import dataclasses
import sys
from collections.abc import Callable
from typing import Any, cast

import timm
from timm.models import PretrainedCfg, _hub, generate_default_cfgs, register_model, resolve_pretrained_cfg

from mmvssm import weights
from mmvssm.settings import check_choice

from ._backbone import Backbone
from ._loading import check_source, load_weights
from ._registry import FAMILIES, Family, family_of
from ._stages import HierarchicalBackbone


def register(family: Family) -> Family:
    """Make a family known: its variants to :func:`create_model` and to `timm.create_model`.

    Each published checkpoint of a variant becomes a tag of timm's. The entry points, `NAME(pretrained=False,
    **overrides) -> model`, become attributes of the family's module.
    """
    FAMILIES[family.cls] = family
    module = vars(sys.modules[family.cls.__module__])
    for name in family.variants:
        module[name] = entrypoint = _entrypoint(family, name)
        module.setdefault('default_cfgs', {}).update(generate_default_cfgs(_timm_cfgs(family.cls, name)))
        register_model(entrypoint)
    return family


def _entrypoint(family: Family, name: str) -> Callable[..., Backbone]:
    def entrypoint(
        pretrained=False,
        pretrained_cfg=None,
        pretrained_cfg_overlay=None,
        cache_dir=None,
        pretrained_model_args=None,  # timm's, of a hub folder: it gives them as keywords too
        **kwargs,
    ):
        if pretrained is not None and not isinstance(pretrained, bool):
            check_source('pretrained', pretrained, 'a bool, ')
        cfg = resolve_pretrained_cfg(name, pretrained_cfg, dict(pretrained_cfg_overlay or {}))
        model = _build(family, name, cfg, kwargs)
        model._model_args = kwargs  # what timm writes into a hub folder
        if pretrained is not False and pretrained is not None:
            source = _source(name, cfg, cache_dir) if pretrained is True else pretrained
            load_weights(model, source, label_offset=cfg.label_offset or 0)
        return model

    entrypoint.__name__ = entrypoint.__qualname__ = name
    entrypoint.__module__, entrypoint.__doc__ = family.cls.__module__, family.variants[name].about
    return entrypoint


def _timm_cfgs(cls: type[Backbone], name: str) -> dict[str, dict[str, Any] | PretrainedCfg]:
    """timm's description of a variant's published checkpoints; * marks the default. Without any, of the variant."""
    published = [c for c in weights.PUBLISHED.values() if c.model == name]
    images = weights.evaluation(name)
    common = dict(
        pool_size=tuple(n // 32 for n in images['input_size'][1:]) if issubclass(cls, HierarchicalBackbone) else None,
        **images,
        first_conv=cls.first_conv,
        classifier=cls.classifier_name,
    )
    if not published:
        return {name: common}
    return {
        c.name + '*' * c.default: dict(
            url=c.url, license=c.license, num_classes=1000 if c.task == 'imagenet' else 0, **common
        )
        for c in published
    }


def _build(family: Family, name: str, cfg, kwargs: dict[str, Any]) -> Backbone:
    """The model; what `kwargs` leave open of classes and image is as timm's configuration says."""
    # timm's name for features out of `forward_intermediates`, the one way that there is here
    own = {key: value for key, value in kwargs.items() if key != 'feature_cls'}
    check_choice('feature_cls', kwargs.get('feature_cls', 'getter'), ('getter',))
    family.check_arguments(name, own)
    channels, *size = cfg.input_size
    given = dict(num_classes=cfg.num_classes, in_chans=channels)
    if cfg.fixed_input_size and 'img_size' in family.arguments:
        given['img_size'] = tuple(size)
    model = family.build(name, **{**given, **family.variants[name].numbers, **own})
    described = dict(state_dict=None, first_conv=family.cls.first_conv, classifier=family.cls.classifier_name)
    model.pretrained_cfg = model.default_cfg = dataclasses.replace(cfg, **described).to_dict()
    return model


def _source(name: str, cfg, cache_dir):
    """The state dict or path that `pretrained=True` means: the first that timm's configuration has, in timm's order."""
    if cfg.source == 'local-dir':
        return weights.weights_in(cfg.file)
    if cfg.source != 'hf-hub' and (cfg.state_dict or cfg.file):
        return cfg.state_dict or cfg.file
    if cfg.hf_hub_id:
        return weights.fetch_from_hub(_hub.download_from_hf, cfg.hf_hub_id, cfg.hf_hub_filename, cache_dir=cache_dir)
    if cfg.url:
        return weights.download(cfg.url, cache_dir=cache_dir)
    raise weights.CheckpointError(
        f'no ImageNet weights of {name} were ever published; pass pretrained=PATH_OR_URL of your own file'
    )


def create_model(name: str, pretrained: bool | str = False, **kwargs: Any) -> Backbone:
    """Build a variant.

    Args:
        name: one of :func:`list_models`; or a published checkpoint's name (`vil2_tiny.e400_in1k`), which
            `pretrained=True` then means; or, as in timm, 'hf-hub:OWNER/NAME' or 'local-dir:FOLDER'.
        pretrained: False, True (the published ImageNet weights, downloaded and cached), or a path or URL of a
            checkpoint in the family's official layout or in this project's own.
        **kwargs: the family's constructor arguments, e.g. num_classes, in_chans, drop_path_rate, and for dense
            prediction features_only, out_indices, out_norms; and timm's pretrained_cfg, pretrained_cfg_overlay and
            cache_dir. Unknown ones are a TypeError.

    Raises:
        ValueError: an unknown name (the message lists near ones), or an argument out of range.
        TypeError: a name that is no str, a `pretrained` of another type, an unknown argument.
        mmvssm.weights.CheckpointError: weights that cannot be read or belong to another model.
    """
    if not isinstance(name, str):
        raise TypeError(f'name={name!r} must be a str, one of mmvssm.list_models()')
    if ':' in name:
        build = cast(Callable[..., Backbone], timm.create_model)  # timm hands a path on to the entry point
        return build(name, pretrained=pretrained, **kwargs)
    variant, dot, tag = name.partition('.')
    build = vars(sys.modules[family_of(name).cls.__module__])[variant]
    if dot:
        kwargs.setdefault('pretrained_cfg', tag)
    return build(pretrained=pretrained, **kwargs)
