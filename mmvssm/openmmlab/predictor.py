"""A trained detector or segmentor, ready for images: three lines from Python.

predictor = Predictor('vmamba_tiny_s1l8.mask_rcnn_1x_coco')
found = predictor('street.jpg')
found.picture().save('seen.png')
"""

import copy
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, init_default_scope
from PIL import Image

from mmvssm import inputs, targets, weights
from mmvssm.errors import UsageError
from mmvssm.openmmlab import config_files
from mmvssm.openmmlab import device as devices
from mmvssm.openmmlab.found import Found
from mmvssm.openmmlab.layouts.layout import datasets, set_num_classes
from mmvssm.openmmlab.loading import fitting_state
from mmvssm.openmmlab.tasks import task_of
from mmvssm.pictures import Colours

META = ('classes', 'palette', 'stuff_classes')


class Predictor:
    """A detector or segmentor with its weights, loaded strictly.

    Args:
        name: path or name of a config, name of a published checkpoint, or folder of a run; see `mmvssm.targets`.
        checkpoint: path, URL or name; None for the published one of that name.
        device: 'cpu', 'cuda', ...; None for a GPU where there is one.
        options: settings of the config to override, keys with dots.
        tile: for large images: predict on overlapping squares of that many pixels at full resolution, and merge.
        overlap: of neighbouring tiles, a fraction of their side.
        tta: predict on several sizes and mirror images of each image, and merge: see `mmvssm.openmmlab.tta`.

    Raises:
        UsageError: no such name, or no checkpoint for it; masks that cannot be merged.
        mmvssm.weights.CheckpointError: the checkpoint is unreadable, or does not fit to the last key.
    """

    def __init__(
        self,
        name: str,
        checkpoint: str | None = None,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
        tile: int | None = None,
        overlap: float = 0.2,
        tta: bool = False,
    ):
        target = targets.whole_model(name, checkpoint)
        content = weights.read_checkpoint(target.local_checkpoint())
        self.cfg = _config(target, options)
        self.task = task_of(self.cfg)
        meta = _meta(self.cfg, content)
        self.classes = tuple(meta['classes'])
        self.colours = _colours(meta.get('palette'), len(self.classes))
        stuff = len(meta['stuff_classes'])
        set_num_classes(self.cfg.model, len(self.classes) - stuff, stuff)  # a checkpoint is of one data set
        self.device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
        self.tile = _check_tile(tile, overlap)
        self.overlap = overlap
        pipeline = copy.deepcopy(self.cfg.test_dataloader.dataset.pipeline)
        if tta:
            if tile is not None and self.task.predict_tiles is None:
                raise UsageError('--tta changes the size of an image, --tile keeps it: a segmentor takes one of them')
            self.task.augment_tests(self.cfg)
            pipeline = copy.deepcopy(self.cfg.tta_pipeline)
        if tile is not None:
            pipeline = self.task.tile(self.cfg, pipeline, tile, overlap)
        model = _build(self.cfg, content)
        if tta:
            model = MODELS.build(dict(self.cfg.tta_model, module=model))
        self.model = model.to(self.device).eval()
        self._pipeline = Compose(_for_arrays(pipeline, self.task.scope))

    def __call__(self, image: 'str | os.PathLike | np.ndarray | Image.Image') -> Found:
        """What is in an image: a path, a URL, an RGB array (H, W, 3) of uint8, or a PIL image."""
        return self.predict([image])[0]

    def predict(self, images: Sequence, batch_size: int = 1) -> list[Found]:
        """The same for several images, in batches of those that have one size.

        An image's result does not depend on those beside it: only images of equal size share a batch.

        Raises:
            mmvssm.inputs.Unreadable: a path or URL that is no image.
            UsageError: an array of another shape or type.
        """
        arrays = [_array(image) for image in images]
        if self.tile is not None and self.task.predict_tiles is not None:
            return [self.task.predict_tiles(self.whole, array, self.tile, self.overlap) for array in arrays]
        return self.whole(arrays, batch_size)

    @torch.no_grad()
    def whole(self, arrays: Sequence[np.ndarray], batch_size: int = 1) -> list[Found]:
        """Predictions on images as they are, whatever `tile` says."""
        prepared = [self._pipeline(dict(img=array[..., ::-1].copy(), img_id=0)) for array in arrays]
        found: dict[int, Found] = {}
        for group in _batches([_shapes(item['inputs']) for item in prepared], batch_size):
            samples = self.model.test_step(pseudo_collate([prepared[i] for i in group]))
            for i, sample in zip(group, samples, strict=True):
                parts = self.task.found(sample)
                found[i] = Found(arrays[i], self.classes, self.colours, **parts)
        return [found[i] for i in range(len(arrays))]


def _config(target: targets.Target, options: Mapping[str, Any] | None) -> Config:
    cfg = config_files.read(target.config_file)
    config_files.override(cfg, dict(options or {}))
    devices.fit_device(cfg)
    if 'backbone' in cfg.model:
        cfg.model.backbone.pop('init_cfg', None)  # the checkpoint has everything
        cfg.model.backbone.pop('pretrained', None)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    return cfg


def _build(cfg: Config, content: dict) -> torch.nn.Module:
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    state, _ = fitting_state(model, content)
    model.load_state_dict(state, strict=True)
    return model


def _meta(cfg: Config, content: dict) -> dict:
    """Names and colours of the classes: those of the checkpoint, the config, or the config's kind of data set."""
    saved = content.get('meta')
    saved = saved if isinstance(saved, dict) else {}
    data_set = next(datasets(cfg, 'test'))
    kind = DATASETS.get(data_set.type)
    places = [saved.get('dataset_meta'), saved, data_set.get('metainfo'), getattr(kind, 'METAINFO', None)]
    found: dict = {}
    for place in places:
        for key, value in (place or {}).items():
            if str(key).lower() in META and isinstance(value, list | tuple) and value:
                found.setdefault(str(key).lower(), list(value))
    if 'classes' not in found:
        raise UsageError(
            'neither the checkpoint nor the config names the classes: set test_dataloader.dataset.metainfo'
        )
    # an instance checkpoint says nothing of the stuff that its config's data set has
    found['stuff_classes'] = [name for name in found.get('stuff_classes', ()) if name in found['classes']]
    return found


def _colours(given: list | None, number: int) -> Colours | None:
    if not given or len(given) < number:
        return None
    return [(int(r), int(g), int(b)) for r, g, b in given[:number]]


def _check_tile(tile: int | None, overlap: float) -> int | None:
    if tile is not None and tile < 32:
        raise UsageError(f'tile={tile} must be at least 32 pixels')
    if not 0 <= overlap < 1:
        raise UsageError(f'overlap={overlap} must be at least 0 and below 1')
    return tile


def _for_arrays(pipeline: list, scope: str) -> list:
    """A test pipeline that takes arrays (BGR, as mmcv reads files) and needs no labels."""
    kept = [step for step in pipeline if not step['type'].endswith(('LoadAnnotations', 'LoadPanopticAnnotations'))]
    if not kept or 'LoadImage' not in kept[0]['type']:
        raise UsageError('the test pipeline of the config does not begin with LoadImageFromFile')
    return [dict(type=f'{scope}.LoadImageFromNDArray'), *map(_without_labels, kept[1:])]


def _without_labels(step: dict) -> dict:
    """A step that asks for no path, and for no labels in the views of an image."""
    if 'meta_keys' in step:
        return dict(step, meta_keys=tuple(key for key in step['meta_keys'] if key != 'img_path'))
    if 'TestTimeAug' not in step['type']:
        return step
    views = [[one for one in choice if 'LoadAnnotations' not in one['type']] for choice in step['transforms']]
    return dict(step, transforms=[list(map(_without_labels, choice)) for choice in views if choice])


def _shapes(inputs) -> tuple:
    """Of an image, or of each of its views."""
    return tuple(inputs.shape) if isinstance(inputs, torch.Tensor) else tuple(tuple(view.shape) for view in inputs)


def _array(image) -> np.ndarray:
    if isinstance(image, str | os.PathLike):
        (source,) = inputs.find([str(image)])
        return next(inputs.read(source)).image
    if isinstance(image, Image.Image):
        return np.array(image.convert('RGB'))
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
        return image
    what = f'{image.dtype} {image.shape}' if isinstance(image, np.ndarray) else type(image).__name__
    raise UsageError(f'{what} is no image; allowed: a path, a URL, a PIL image, a uint8 array (H, W, 3) of RGB')


def _batches(shapes: list, size: int) -> list[list[int]]:
    """Indices in groups of at most `size` that have one shape."""
    groups: dict[Any, list[int]] = {}
    for i, shape in enumerate(shapes):
        groups.setdefault(shape, []).append(i)
    return [group[i : i + size] for group in groups.values() for i in range(0, len(group), size)]
