"""Whole detectors and segmentors from checkpoints, every key accounted for.

`hooks.strict_load` makes mmengine load so.
"""

from collections.abc import Mapping

from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor, nn

from mmvssm import weights
from mmvssm.backbones import Backbone, family_of, identify, likeness, match_weights, options_for, variant_name

from .necks import RescalePyramid, Rules, SimplePyramid, neck_names, renamed

UNCOUNTED = '*num_batches_tracked'  # older files lack it
# ViL's names of the heads and of what is in them -> mmsegmentation's
HEADS: Rules = (
    (r'^decoder\.(.*)', r'decode_head.\1'),
    (r'^auxiliary\.(.*)', r'auxiliary_head.\1'),
    (r'\.batch_norm\.', '.bn.'),
    (r'\.classifier\.', '.conv_seg.'),
)


def own_backbones(model: nn.Module) -> dict[str, Backbone]:
    """This project's backbones in a model, by their path; none where the parameters are sharded into one."""
    if any(name.endswith('_flat_param') for name, _ in model.named_parameters()):
        return {}
    return {path: module for path, module in model.named_modules() if isinstance(module, Backbone)}


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside of data parallelism, compilation, averaging and test-time augmentation."""
    while True:
        if isinstance(inner := getattr(model, '_orig_mod', None), nn.Module):
            model = inner
        elif is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.get_submodule('module')
        else:
            return model


def fitting_state(model: nn.Module, content: Mapping, heads_may_differ: bool = False) -> tuple[dict, list[str]]:
    """A checkpoint's content -> the model's state dict, whole, and the names of what is the model's own in it.

    Raises:
        CheckpointError: keys are missing, left over or of a wrong shape, or values are no finite numbers.
    """
    model = unwrapped(model)
    report, state = match_checkpoint(model, content)
    own = weights.plain_names(model.state_dict())
    fresh: list[str] = []
    if heads_may_differ:
        places = tuple(f'{path}.' for path in own_backbones(model)) or ('backbone.',)
        fresh = [name for name in report.wrong_names if not name.startswith(places)]
        report = report.excusing(fresh)
    if not report.ok:
        raise weights.KeyMismatchError(_message(model, content, report), report)
    fitting = {name: weights.prepare(name, state[name], own[name]) for name in report.loaded}
    return {**fitting, **{name: own[name] for name in fresh if name in own}}, fresh


def match_checkpoint(model: nn.Module, content: Mapping) -> tuple[weights.KeyReport, dict[str, Tensor]]:
    """A checkpoint's keys sorted against a whole model's, and its tensors under the model's names.

    Reads mmengine's layout, those of Vim's and ViL's segmentation code, a backbone in each of its official layouts,
    and all of them in the wrappers and prefixes that `weights.unwrap` knows. A model with several backbones, or with
    one that does not stand at its top, takes its own layout only.
    """
    own = weights.plain_names(model.state_dict())
    (path, backbone), *more = own_backbones(model).items() or [('backbone', None)]
    if backbone is None or more or '.' in path:
        state = weights.plain_names(weights.find_weights(content))
        return weights.sort_keys(own, state, optional=(UNCOUNTED,)), state
    if not path:
        return match_weights(backbone, weights.unwrap(content))
    place = f'{path}.'
    inner, rest = _parts(model, weights.unwrap(content, whole=True), own)
    report, converted = match_weights(backbone, inner)
    report.missing += report.expected_missing  # a trained model has its out-norms
    report.expected_missing = []
    outside = {name: value for name, value in own.items() if not name.startswith(place)}
    report = report.joined(place, weights.sort_keys(outside, rest, optional=(UNCOUNTED,)))
    return report, {**rest, **{place + name: value for name, value in converted.items()}}


def _parts(model: nn.Module, state: dict[str, Tensor], own: Mapping) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The backbone's part of a file, and the rest of it under the model's names."""
    stem = weights.split_prefix(state)
    necks = {}
    for path, neck in model.named_modules():
        if isinstance(neck, RescalePyramid | SimplePyramid):
            necks.update({source: f'{path}.{name}' for source, name in neck_names(state, neck).items()})
    inner = {k[len(stem) :]: v for k, v in state.items() if k.startswith(stem) and k not in necks}
    rest = {necks.get(k, k): v for k, v in state.items() if k in necks or not k.startswith(stem)}
    return inner, {name if name in own else _head_name(name): value for name, value in rest.items()}


def _head_name(name: str) -> str:
    if not name.startswith(('decoder.', 'auxiliary.')):
        return name
    return renamed(name, HEADS)


def _message(model: nn.Module, content: Mapping, report: weights.KeyReport) -> str:
    backbones = own_backbones(model)
    if len(backbones) != 1:
        return f'the checkpoint does not fit the model of this config\n{report.summary()}'
    ((path, backbone),) = backbones.items()
    state = weights.unwrap(content)
    inner = {k: v for k, v in state.items() if not k.startswith(backbone.fresh_prefixes)}
    looks = identify(inner)
    what = f'its backbone {likeness(inner, looks)}'
    same_family = looks and isinstance(backbone, family_of(looks[0]).cls)
    if same_family and variant_name(backbone) not in looks:
        what += f', which is model.backbone.arch={looks[0]}'
    elif same_family and path and not report.unexpected and all(n.startswith(f'{path}.') for n in report.loaded):
        what += '; it is a backbone without neck and head: give it as model.backbone.pretrained'
    wanted = options_for(backbone, [name.removeprefix(f'{path}.') for name in report.unexpected])
    return f'the checkpoint does not fit the model of this config ({what})\n{report.summary()}{wanted}'
