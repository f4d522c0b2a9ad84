"""Backbone, necks and heads: what one gives is what the next takes, and what to write where it is not."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from mmvssm.backbones import Backbone
from mmvssm.errors import UsageError

from .places import matching

# neck -> (its config, the channels of the maps that it takes) -> the channels of the maps that it gives
Given = list[int]
NECKS: dict[str, Callable[[dict, Given], Given]] = {
    'FPN': lambda neck, given: [neck['out_channels']] * neck.get('num_outs', len(given)),
    'PAFPN': lambda neck, given: [neck['out_channels']] * neck['num_outs'],
    'CSPNeXtPAFPN': lambda neck, given: [neck['out_channels']] * len(given),
    'ChannelMapper': lambda neck, given: [neck['out_channels']] * (neck.get('num_outs') or len(given)),
    'SimplePyramid': lambda neck, given: [neck.get('out_channels', 256)] * neck.get('num_outs', 5),
    'RescalePyramid': lambda neck, given: list(given),
    'Feature2Pyramid': lambda neck, given: list(given),
}


def check_config(model: dict, backbone: Backbone) -> None:
    """Compare the numbers of necks and decode heads with what the backbone gives.

    Raises:
        UsageError: both sides, and what to write.
    """
    given: Given | None = list(backbone.out_channels)
    source = f'model.backbone ({type(backbone).__name__})'
    for place, neck in _several(model, 'neck'):
        _check_neck(place, neck, given or [], source)
        given, source = _after(neck, given or []), place
        if given is None:
            return  # a neck of which nothing is known
    for kind in ('decode_head', 'auxiliary_head', 'panoptic_head'):
        for place, head in _several(model, kind):
            _check_decode_head(place, head, given or [], source)


def after_necks(config: dict, backbone: Backbone) -> tuple[Given | None, str]:
    """The channels of the maps that a model's heads take, and what gives them; None where a neck is not known."""
    given: Given | None = list(backbone.out_channels)
    source = f'model.backbone ({type(backbone).__name__})'
    for place, neck in _several(config, 'neck'):
        given, source = _after(neck, given or []), place
        if given is None:
            break
    return given, source


def check_heads(config: dict, model: nn.Module, backbone: Backbone) -> None:
    """Compare the heads of a built detector with the last neck.

    Raises:
        UsageError: both sides, and what to write.
    """
    given, source = after_necks(config, backbone)
    if not given:
        return
    for path, head in _modules(model, ('rpn_head', 'bbox_head', 'mask_head')):
        wanted = getattr(head, 'in_channels', None)
        if isinstance(wanted, int) and len(set(given)) > 1:
            raise UsageError(
                f'model.{path}.in_channels={wanted} is for maps of one width, but {source} gives {given} channels: '
                'put a neck between them, as model.neck=dict(type="FPN", ...)'
            )
        _compare(f'model.{path}', 'in_channels', wanted, given[0], given, source)
        if min(_numbers(getattr(head, 'num_base_priors', 1))) < 1:
            raise UsageError(f'model.{path}.anchor_generator gives no anchors: it needs scales and ratios')
        levels = getattr(getattr(head, 'prior_generator', None), 'num_levels', len(given))
        if levels != len(given):
            raise UsageError(
                f'model.{path} has priors for {levels} maps, but {source} gives {len(given)}: write strides for '
                f'{len(given)} or {source}.num_outs={levels}'
            )
    two_stages = any(cls.__name__ == 'TwoStageDetector' for cls in type(model).__mro__)
    if two_stages and not model.with_roi_head:
        raise UsageError(f'model.roi_head is missing: {type(model).__name__} needs it')
    for kind in ('bbox', 'mask'):
        for path, extractor in _modules(model, (f'roi_head.{kind}_roi_extractor',)):
            _check_extractor(path, extractor, given, source)
            for place, head in _modules(model, (f'roi_head.{kind}_head',)):
                have = [getattr(extractor, 'out_channels', given[0])]
                wanted = getattr(head, 'in_channels', None)
                _compare(f'model.{place}', 'in_channels', wanted, have[0], have, f'model.{path}')


def _several(model: dict, key: str) -> Iterator[tuple[str, dict]]:
    """(place, config) of each neck or head, one or a list of them."""
    for place, node in matching(model, f'{key}.*'):
        if isinstance(node, dict):
            yield f'model.{place}', node


def _modules(model: nn.Module, paths: tuple[str, ...]) -> Iterator[tuple[str, nn.Module]]:
    modules = dict(model.named_modules())
    for path in paths:
        module = modules.get(path)
        if isinstance(module, nn.ModuleList):
            yield from ((f'{path}.{i}', one) for i, one in enumerate(module))
        elif module is not None:
            yield path, module


def _numbers(value: Any) -> list[int]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _after(neck: dict, given: Given) -> Given | None:
    compute = NECKS.get(str(neck.get('type')).rpartition('.')[2])
    try:
        return None if compute is None else compute(neck, given)
    except (KeyError, TypeError):
        return None  # what is missing is told when the neck is built


def _check_neck(place: str, neck: dict, given: Given, source: str) -> None:
    wanted = neck.get('in_channels')
    if isinstance(wanted, int):
        if given != [wanted] * len(given):
            raise UsageError(_mismatch(place, 'in_channels', wanted, given, source, given[-1]))
    elif isinstance(wanted, list | tuple) and list(wanted) != given:
        raise UsageError(_mismatch(place, 'in_channels', list(wanted), given, source, given))


def _check_decode_head(place: str, head: dict, given: Given, source: str) -> None:
    index, wanted = head.get('in_index'), head.get('in_channels')
    several = isinstance(wanted, list | tuple) or isinstance(index, list | tuple)
    if index is None:
        index = list(range(len(given))) if several else -1
    for one in index if isinstance(index, list | tuple) else [index]:
        if type(one) is not int or not -len(given) <= one < len(given):
            raise UsageError(
                f'{place}.in_index={index} asks for map {one!r}, but {source} gives {len(given)} maps; '
                f'allowed: 0 to {len(given) - 1}'
            )
    right = [given[one] for one in index] if isinstance(index, list | tuple) else given[index]
    if wanted is not None and (list(wanted) if isinstance(wanted, list | tuple) else wanted) != right:
        raise UsageError(_mismatch(place, 'in_channels', wanted, given, source, right))


def _check_extractor(path: str, extractor: nn.Module, given: Given, source: str) -> None:
    place = f'model.{path}'
    _compare(place, 'out_channels', getattr(extractor, 'out_channels', None), given[0], given, source)
    strides = list(getattr(extractor, 'featmap_strides', []))
    if len(strides) > len(given):
        raise UsageError(
            f'{place}.featmap_strides={strides} is for {len(strides)} maps, but {source} gives {len(given)}'
        )


def _compare(place: str, field: str, wanted: Any, right: int, given: Given, source: str) -> None:
    if isinstance(wanted, int) and wanted != right:
        raise UsageError(_mismatch(place, field, wanted, given, source, right))


def _mismatch(place: str, field: str, wanted: Any, given: Given, source: str, right: Any) -> str:
    maps = f'a map of {given[0]} channels' if len(given) == 1 else f'{len(given)} maps of {given} channels'
    return f'{place}.{field}={wanted} does not fit {source}, which gives {maps}: write {place}.{field}={right}'
