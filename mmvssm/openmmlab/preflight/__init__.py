"""The look at a config before data are read: every setting that can be wrong by itself, or beside another, in words.

`values` holds what may stand where, `keywords` what each class takes, `parts` builds the model on the meta device (no
memory, no weights) and what belongs to it, `channels` compares backbone, necks and heads, `queries` the numbers of
DETRs and Mask2Former, `classes` heads and data.
"""

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmvssm.openmmlab import console

from . import channels, classes, keywords, parts, queries, values

__all__ = ['check']


def check(cfg: Config, training: bool) -> None:
    """Look at every setting of a run.

    Raises:
        UsageError: a line or two that name the field and what is allowed.
    """
    with console.silent():
        _check(cfg, training)


def _check(cfg: Config, training: bool) -> None:
    values.check(cfg, training)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    keywords.check(cfg, training)
    parts.check_packages(cfg, training)
    backbone = parts.build_backbone(cfg)
    if backbone is not None:
        channels.check_config(cfg.model, backbone)
    model = parts.build_model(cfg)
    if model is not None and backbone is not None:
        channels.check_heads(cfg.model, model, backbone)
        queries.check(cfg.model, model, *channels.after_necks(cfg.model, backbone))
    classes.check(cfg)
    parts.build_hooks(cfg)
    parts.build_transforms(cfg, training)
    if model is not None and training:
        parts.check_batch(cfg, model)
        parts.build_optimizer(cfg, model)
