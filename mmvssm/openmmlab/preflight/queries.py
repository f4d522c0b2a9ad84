"""Heads that ask by queries (DETR and what followed, Mask2Former): their numbers beside each other.

mmdet takes these from several places of a config and fails on the first image where they do not agree.
"""

from torch import nn

from mmvssm.errors import UsageError

from .places import look_up

# models of queries -> where the number of queries, of classes and of results stand
RESULTS = (
    ('num_queries', ('bbox_head.num_classes',), 'test_cfg.max_per_img'),
    (
        'panoptic_head.num_queries',
        ('panoptic_head.num_things_classes', 'panoptic_head.num_stuff_classes'),
        'test_cfg.max_per_image',
    ),
)


def check(config: dict, model: nn.Module, given: list[int] | None, source: str) -> None:
    """Compare the numbers of a model of queries.

    Args:
        config: of the model.
        model: built of it.
        given: the widths of the maps that its transformer takes; None where they are not known.
        source: what gives them.

    Raises:
        UsageError: both sides, and what to write.
    """
    for queries, classes, results in RESULTS:
        _check_results(config, queries, classes, results)
    levels, width = getattr(model, 'num_feature_levels', None), getattr(model, 'embed_dims', None)
    if not isinstance(levels, int) or not isinstance(width, int):
        return
    if given is not None and len(given) != levels:
        raise UsageError(
            f'model.num_feature_levels={levels}, but {source} gives {len(given)} maps: '
            f'write {source}.num_outs={levels}, or {len(given)} there and for num_levels in encoder and decoder'
        )
    for place in ('encoder.layer_cfg.self_attn_cfg', 'decoder.layer_cfg.cross_attn_cfg'):
        own = look_up(config, f'{place}.num_levels', 4)
        if own != levels:
            raise UsageError(f'model.{place}.num_levels={own}, but model.num_feature_levels={levels}: write {levels}')
    if (own := getattr(model.bbox_head, 'embed_dims', width)) != width:
        raise UsageError(f'model.bbox_head.embed_dims={own}, but the encoder has embed_dims={width}: write {width}')
    if given is not None and set(given) != {width}:
        raise UsageError(f'{source} gives {given} channels, but the encoder has embed_dims={width}: they must be equal')


def _check_results(config: dict, queries: str, classes: tuple[str, ...], results: str) -> None:
    """No more results are asked for than there are pairs of a query and a class."""
    number, wanted = look_up(config, queries), look_up(config, results)
    counts = [look_up(config, place) for place in classes]
    if not all(isinstance(one, int) for one in (number, wanted, *counts)):
        return
    if number * sum(counts) < wanted:
        raise UsageError(
            f'model.{results}={wanted} is more than {number} queries of {sum(counts)} classes can find: '
            f'write {number * sum(counts)} or less, or more model.{queries}'
        )
