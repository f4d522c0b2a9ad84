"""A search for scan directions as a run: the config's model becomes a supernet, and what it finds becomes a config."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmvssm import directions, search
from mmvssm.directions import Directions
from mmvssm.errors import UsageError
from mmvssm.openmmlab import config_files

CONFIG = '''"""{base} with the scan directions that a search found, trained from scratch."""

_base_ = [{path!r}]
model = dict(backbone=dict({field}='{{{{ fileDirname }}}}/directions.json'{more}))
'''


@dataclass(frozen=True)
class Options:
    """What a search is told on the command line.

    Attributes:
        candidates: the orders to choose from; None for the published eight.
        k: how many a layer keeps; None for the family's number.
        forced: orders that every layer keeps.
        temperature: of the softmax at the start and at the end.
        alternating: train logits and weights in turn, on two halves of the data.
        logit_decay: let the logits decay as the other weights do (published).
        logit_lr: their learning rate, as a multiple of the others'.
        patience: stop after so many reports of the same choice.
    """

    candidates: list[str] | None = None
    k: int | None = None
    forced: tuple[str, ...] = ()
    temperature: tuple[float, float] = (1.0, 1.0)
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
        temperature=list(options.temperature),
        alternating=options.alternating,
        patience=options.patience,
        base=str(path.resolve()),
        data=data,
    )
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]


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


def write(found: Directions, folder: str | os.PathLike, base: str | None) -> list[str]:
    """Put what was found into a folder; returns lines that say so.

    base: the config whose model was searched; None writes no config.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    directions.write(folder / 'directions.json', found)
    lines = [f'directions: {folder / "directions.json"}']
    lines += [f'{name}: {path}' for name, path in _draw(found, folder).items()]
    if base is not None:
        path = folder / 'searched.py'
        path.write_text(searched_config(Path(base)), encoding='utf-8')
        lines.append(f'the searched model: mmvssm train {path}')
    return lines


def searched_config(base: Path) -> str:
    """The text of a config that trains the model of config `base` with the directions of a file beside it."""
    cfg = Config.fromfile(base)
    backbone = _backbone(cfg)
    what = search.searchable(_family(backbone))
    more = ''.join(f', {key}=None' for key in ('init_cfg', 'pretrained') if backbone.get(key) is not None)
    end = 'load_from = None\n' if cfg.get('load_from') else ''  # weights along other orders are of no use
    return CONFIG.format(base=base.stem, path=str(base), field=what.field, more=more) + end


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
