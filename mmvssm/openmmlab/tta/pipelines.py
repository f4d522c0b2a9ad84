"""Views of an image, made out of a config's own test pipeline."""

from typing import Any

from mmengine.config import Config

FLIP_KEYS = ('flip', 'flip_direction')


def complete(cfg: Config, model: dict[str, Any], upstream: str, scales: tuple[float, ...]) -> None:
    """Give a config what it lacks of `tta_model` and `tta_pipeline`.

    Args:
        cfg: the config.
        model: the test-time augmentation of its task.
        upstream: the class that it stands for, and takes the place of.
        scales: of the size of a test image; those above 1 only where the model takes images of any size.
    """
    own = cfg.get('tta_model')
    if own is None:
        cfg.tta_model = model
    elif own['type'].rpartition('.')[2] == upstream:
        own['type'] = model['type']
    if cfg.get('tta_pipeline') is None:
        preprocessor = cfg.model.get('data_preprocessor') or {}
        fixed = preprocessor.get('type', '').endswith('FixedSizeDataPreprocessor')
        chosen = tuple(scale for scale in scales if scale <= 1 or not fixed)
        cfg.tta_pipeline = views(cfg.test_dataloader.dataset.pipeline, chosen)


def views(pipeline: list[dict], scales: tuple[float, ...]) -> list[dict]:
    """A test pipeline that makes a view for each scale, as it is and mirrored.

    Flips come right after the resize: padding is at the right and at the bottom of flipped images too. Where a later
    step may set a size, there is one scale. Labels are loaded last, as those of the image.
    """
    *steps, packer = [step for step in pipeline if 'LoadAnnotations' not in step['type']]
    labels = [[step] for step in pipeline if 'LoadAnnotations' in step['type']]
    resizes = [i for i, step in enumerate(steps) if step['type'].rpartition('.')[2] == 'Resize']
    cut = resizes[-1] if resizes else 1
    after = [[step] for step in steps[cut + len(resizes[-1:]) :]]
    sizes = [_scaled(steps[cut], 1.0 if after else scale) for scale in scales] if resizes else []
    flips = [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)]
    if 'meta_keys' in packer:
        packer = dict(packer, meta_keys=(*packer['meta_keys'], *FLIP_KEYS))
    choices = [sizes[:1] if after else sizes, flips, *after, *labels, [packer]]
    return [*steps[:cut], dict(type='TestTimeAug', transforms=[choice for choice in choices if choice])]


def _scaled(resize: dict, factor: float) -> dict:
    """A resize to another size."""
    scaled = dict(resize)
    if scaled.get('scale') is not None:
        scaled['scale'] = tuple(round(side * factor) for side in scaled['scale'])
    if scaled.get('scale_factor') is not None:
        scaled['scale_factor'] = scaled['scale_factor'] * factor
    return scaled
