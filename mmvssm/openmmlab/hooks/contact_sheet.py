"""A contact sheet: held-out images, what is there beside what was found."""

from pathlib import Path

import mmcv
import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from PIL import Image

from mmvssm.pictures import Instances, beside, paint_instances, paint_labels, palette, sheet
from mmvssm.settings import Int, Number, Text, checked


@HOOKS.register_module()
class ContactSheetHook(Hook):
    """After an evaluation writes WORK_DIR/NAME.png: pairs of ground truth (left) and prediction (right).

    Detection pictures carry masks, boxes, classes and scores, segmentation pictures the classes' colours. Overwritten
    at every evaluation.

    Args:
        num_images: how many of the first images to show.
        columns: pairs in a row.
        score: predictions below it are not drawn.
        name: file name without suffix.
    """

    @checked(num_images=Int(1), columns=Int(1), score=Number(0, 1), name=Text())
    def __init__(self, num_images: int = 12, columns: int = 3, score: float = 0.5, name: str = 'contact_sheet'):
        self.num_images, self.columns, self.score, self.name = num_images, columns, score, name
        self._pairs: list[Image.Image] = []

    def before_val_epoch(self, runner) -> None:
        self._pairs = []

    before_test_epoch = before_val_epoch

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if is_main_process():
            for sample in (outputs or ())[: self.num_images - len(self._pairs)]:
                self._pairs.append(side_by_side(sample, _meta(runner), self.score))

    after_test_iter = after_val_iter

    def after_val_epoch(self, runner, metrics=None) -> None:
        if self._pairs:
            path = Path(runner.work_dir, f'{self.name}.png')
            sheet(self._pairs, self.columns).save(path)
            runner.logger.info(f'ground truth (left) beside predictions (right): {path}')

    after_test_epoch = after_val_epoch


def _meta(runner) -> dict:
    loops = (runner._val_loop, runner._test_loop)
    return next(loop.dataloader.dataset.metainfo for loop in loops if hasattr(loop, 'dataloader'))


def side_by_side(sample, metainfo: dict, score: float) -> Image.Image:
    """Ground truth and prediction of a DetDataSample or SegDataSample, drawn on its image."""
    image = mmcv.imread(sample.img_path, channel_order='rgb')
    names = metainfo['classes']
    colours = metainfo.get('palette') or palette(len(names))
    if 'pred_sem_seg' in sample:
        halves = [paint_labels(image, _label_map(part), colours) for part in (sample.gt_sem_seg, sample.pred_sem_seg)]
    else:
        found = sample.pred_instances
        found = found[found.scores >= score]
        truth = sample.get('gt_instances')
        halves = [paint_instances(image, _instances(part), names, colours) for part in (truth, found)]
    return beside(halves, gap=2)


def _label_map(part) -> np.ndarray:
    return part.data.squeeze(0).cpu().numpy()


def _instances(part) -> Instances | None:
    if part is None or len(part) == 0:
        return None
    values = {name: _array(part[name]) for name in ('bboxes', 'labels', 'masks', 'scores') if name in part}
    return Instances(values['bboxes'], values['labels'], values.get('masks'), values.get('scores'))


def _array(value) -> np.ndarray:
    """Boxes, labels or masks in any of the forms that mmdet keeps them in."""
    if hasattr(value, 'to_ndarray'):  # bitmap or polygon masks
        return value.to_ndarray()
    value = getattr(value, 'tensor', value)
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
