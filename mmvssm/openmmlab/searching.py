"""A search for scan directions as a run: the config's model becomes a supernet, and what it finds becomes a config."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from mmvssm import directions, search, weights
from mmvssm.backbones import Choice
from mmvssm.directions import Directions
from mmvssm.errors import UsageError
from mmvssm.openmmlab import config_files

STATE = 'direction_search'  # of a search in its checkpoints
CONFIG = '''"""{base} with the scan directions that a search found, trained from scratch."""

_base_ = [{path!r}]
model = {model}
'''


@dataclass(frozen=True)
class Options:
    """What a search is told on the command line.

    Attributes:
        candidates: the orders to choose from; None for the published eight.
        k: how many a layer keeps; None for the family's number.
        forced: orders that every layer keeps.
        temperature: of the softmax at the start and at the end; None for 1.
        alternating: train logits and weights in turn, on two halves of the data.
        logit_decay: let the logits decay as the other weights do (published).
        logit_lr: their learning rate, as a multiple of the others'.
        patience: stop after so many reports of the same choice.
    """

    candidates: list[str] | None = None
    k: int | None = None
    forced: tuple[str, ...] = ()
    temperature: tuple[float, float] | None = None
    alternating: bool = False
    logit_decay: bool = True
    logit_lr: float = 1.0
    patience: int | None = None


def prepare(
    cfg: Config, path: Path, options: Options, data: str | None = None, given: dict[str, Any] | None = None
) -> None:
    """Make a config's run the search for its directions.

    What the config's entry `search` says, settings by dotted names, holds for the search alone.

    path: of the config. data: what `--data` named. given: what `--cfg-options` named.

    Raises:
        UsageError: a model that cannot be searched, or options that do not go together.
    """
    config_files.override(cfg, cfg.pop('search', None) or {})
    config_files.override(cfg, given or {})
    backbone = _backbone(cfg)
    what = search.searchable(_family(backbone), options.k)
    if options.k is None and options.candidates is not None:
        _check_enough(what, options.candidates)
    cfg.model.backbone = search.make_supernet(what, backbone, options.candidates)
    names = tuple(map(search.order_name, cfg.model.backbone['candidates']))
    alike = search.LayerChoice('', names, (1 / len(names),) * len(names))
    search.choose(alike, what.k, options.forced)  # says what cannot be kept before data are read
    cfg.load_from = None
    _set_logits(cfg, options)
    if options.alternating:
        _alternate(cfg)
    hook = dict(
        type='mmvssm.DirectionSearchHook',
        k=what.k,
        forced=list(options.forced) or None,
        temperature=list(options.temperature or (1.0, 1.0)),
        alternating=options.alternating,
        patience=options.patience,
        base=str(path.resolve()),
        data=data,
        given={key: value for key, value in (given or {}).items() if key.startswith('model.')} or None,
    )
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='mmvssm.SameCandidatesHook'), hook]


def _backbone(cfg: Config) -> dict[str, Any]:
    backbone = (cfg.get('model') or {}).get('backbone')
    if not isinstance(backbone, dict) or 'type' not in backbone:
        raise UsageError('the config has no model.backbone whose scan directions could be searched')
    return backbone


def _family(backbone: dict[str, Any]) -> str:
    return str(backbone['type']).rpartition('.')[2]


def _set_logits(cfg: Config, options: Options) -> None:
    """Learning rate and weight decay of the logits, in the words of the config's constructor of the optimizer."""
    if options.logit_decay and options.logit_lr == 1.0:
        return
    wrapper = cfg.optim_wrapper
    paramwise = wrapper.get('paramwise_cfg') or {}
    if wrapper.get('constructor') == 'LayerDecayOptimWrapperConstructor':
        if options.logit_lr != 1.0:
            raise UsageError('--logit-lr does not go with optim_wrapper.constructor=LayerDecayOptimWrapperConstructor')
        if paramwise.get('no_decay') is not None:
            wrapper.paramwise_cfg.no_decay = [*paramwise['no_decay'], search.KEY]
        return  # where it lists none itself it leaves out what the backbone names, the logits among it
    own = dict(lr_mult=options.logit_lr, decay_mult=1.0 if options.logit_decay else 0.0)
    keys = {**(paramwise.get('custom_keys') or {}), search.KEY: own}
    wrapper.paramwise_cfg = {**paramwise, 'custom_keys': keys}


def _alternate(cfg: Config) -> None:
    """The training data in two halves, in turn."""
    loader = cfg.train_dataloader
    gathered = cfg.optim_wrapper.get('accumulative_counts', 1)
    loader.sampler = dict(type='AlternatingSampler', batch_size=loader.batch_size, gathered=gathered)
    loader.batch_sampler = None


def table(layers: Sequence[search.LayerChoice], chosen: Sequence[Sequence[str]]) -> list[str]:
    """A line for each layer: its entropy, and each candidate with its share; those that it would keep stand first."""
    lines = ['what each layer would keep, out of its candidates in per cent (entropy: 1 undecided, 0 decided)']
    for i, (layer, kept) in enumerate(zip(layers, chosen)):
        share = dict(zip(layer.candidates, layer.probabilities))
        others = [name for name in layer.candidates if name not in kept]
        words = [' '.join(f'{name} {100 * share[name]:.0f}' for name in names) for names in (kept, others)]
        lines.append(f'  layer {i:2}  entropy {layer.entropy:.3f}  {words[0]}' + (f'  | {words[1]}' if others else ''))
    return lines


def table_of(found: Directions) -> list[str]:
    """The same of what a search has left."""
    layers = [search.LayerChoice('', layer.candidates, layer.probabilities) for layer in found.layers]
    return table(layers, [layer.chosen for layer in found.layers])


def write(
    found: Directions, folder: str | os.PathLike, base: str | None, given: dict[str, Any] | None = None
) -> list[str]:
    """Put what was found into a folder; returns lines that say so.

    base: the config whose model was searched; None writes no config. given: settings of the model beside it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    directions.write(folder / 'directions.json', found)
    lines = [f'directions: {folder / "directions.json"}']
    lines += [f'{name}: {path}' for name, path in _draw(found, folder).items()]
    if base is not None:
        path = folder / 'searched.py'
        path.write_text(searched_config(Path(base), given), encoding='utf-8')
        data = found.about.get('data')
        lines.append(f'the searched model: mmvssm train {path}' + (f' --data {data}' if data else ''))
    return lines


def searched_config(base: Path, given: dict[str, Any] | None = None) -> str:
    """The text of a config that trains the model of config `base` with the directions of a file beside it.

    given: settings of the model that the search had beside `base`, by dotted names.
    """
    cfg = Config.fromfile(base)
    backbone = _backbone(cfg)
    what = search.searchable(_family(backbone))
    own: dict[str, Any] = {f'model.backbone.{what.field}': '{{ fileDirname }}/directions.json'}
    own |= {f'model.backbone.{key}': None for key in ('init_cfg', 'pretrained') if backbone.get(key) is not None}
    model = _nested({**(given or {}), **own})['model']
    end = 'load_from = None\n' if cfg.get('load_from') else ''  # weights along other orders are of no use
    return CONFIG.format(base=base.stem, path=str(base), model=model) + end


def _nested(settings: dict[str, Any]) -> dict[str, Any]:
    """{'model.backbone.depths': 1} -> {'model': {'backbone': {'depths': 1}}}."""
    nested: dict[str, Any] = {}
    for name, value in settings.items():
        *outer, last = name.split('.')
        place = nested
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = value
    return nested


def _check_enough(what: search.Search, candidates: list[str]) -> None:
    count = len(candidates)
    if count < what.k:
        fixed = what.cls.searched is not None and what.cls.searched.count is not None
        raise UsageError(
            f'--candidates {" ".join(candidates)}: {count} are fewer than the {what.k} that a layer keeps: name more'
            + ('' if fixed else f', or give --k 1 to {count}')
        )


def read(file: str, base: Path | None, options: Options, ema: bool = False) -> Directions:
    """What a checkpoint of a search has found; of this package's own it tells itself what it was.

    Args:
        file: path, URL or name.
        base: the config that was searched, to be compared.
        options: what was asked for; of `candidates`, `k` and `forced` those of the search where nothing was.
        ema: of the averaged weights.

    Raises:
        UsageError: no checkpoint of a search, or of another one than was said.
    """
    content = weights.read_checkpoint(file)
    had = content.get(STATE) if isinstance(content, dict) else None
    had = had if isinstance(had, dict) and 'candidates' in had else {}
    if options.candidates and had and list(had['candidates']) != list(options.candidates):
        raise UsageError(
            f'--candidates {" ".join(options.candidates)}: the search in {file} has others, '
            f'{" ".join(had["candidates"])}; leave it out'
        )
    model = None if base is None else _searched_backbone(base, options.k)
    layers = _layers(file, content, options, had, ema)
    if model is not None and len(layers) != model[1]:
        raise UsageError(f'{file} has a search of {len(layers)} layers, the model of {base} has {model[1]}')
    k = options.k or had.get('k') or (model[0] if model is not None else 4)
    about = {key: had.get(key) for key in ('model', 'data', 'iteration', 'base')}
    return search.found(layers, k, options.forced or tuple(had.get('forced') or ()), checkpoint=file, **about)


def _layers(file: str, content: Any, options: Options, had: dict[str, Any], ema: bool) -> list[search.LayerChoice]:
    try:
        state = weights.unwrap(content, prefer_ema=ema)
    except weights.CheckpointError:
        if not ema:
            raise
        raise UsageError(f'{file} has no averaged weights: leave out --ema') from None
    temperature = options.temperature[-1] if options.temperature is not None else had.get('temperature', 1.0)
    if not any(name.endswith(search.KEY) for name in state):
        raise UsageError(f'{file} is no checkpoint of a search: none of its layers chooses between scan directions')
    return search.choices_in(state, options.candidates or had.get('candidates'), temperature)


def _searched_backbone(base: Path, k: int | None) -> tuple[int, int]:
    """How many orders a layer of a config's model keeps, and how many layers choose."""
    backbone = _backbone(Config.fromfile(base))
    what = search.searchable(_family(backbone), k)
    with torch.device('meta'):
        supernet = MODELS.build(dict(search.make_supernet(what, backbone, None)))
    return what.k, sum(isinstance(module, Choice) for module in supernet.modules())


def _draw(found: Directions, folder: Path) -> dict[str, Path]:
    """Both pictures; none where matplotlib is missing."""
    try:
        from mmvssm.pictures import draw_choices, draw_paths, save
    except ImportError:
        return {}
    return {
        'shares of the candidates': save(draw_choices(found), folder / 'directions.png'),
        'paths of the layers': save(draw_paths(found), folder / 'paths.png'),
    }
