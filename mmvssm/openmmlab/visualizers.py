"""A contact sheet: held-out images, what is there beside what was found."""

from pathlib import Path

import mmcv
import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from PIL import Image, ImageDraw, ImageFont

from mmvssm.openmmlab.data import palette

TILE = 256  # shorter side of a picture on the sheet, pixels


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
        halves = [paint_instances(image, part, names, colours) for part in (truth, found)]
    return beside(halves, gap=2)


def _label_map(part) -> np.ndarray:
    return part.data.squeeze(0).cpu().numpy()


def paint_labels(image: np.ndarray, labels: np.ndarray, colours) -> Image.Image:
    """The image (H, W, 3) tinted with its labels' colours (H, W); labels without a colour (255) stay bare."""
    table = np.zeros((256, 3), np.float32)
    table[: len(colours)] = colours
    if labels.shape != image.shape[:2]:
        image = mmcv.imresize(image, labels.shape[::-1])
    known = (labels < len(colours))[..., None]
    return enlarge(np.where(known, 0.45 * image + 0.55 * table[labels], image).astype(np.uint8))


def paint_instances(image: np.ndarray, instances, names, colours) -> Image.Image:
    """The image with masks, boxes, names (of several classes) and scores (where there are any); None draws nothing."""
    if instances is None or len(instances) == 0:
        return enlarge(image)
    boxes, labels = _array(instances.bboxes), _array(instances.labels)
    if 'masks' in instances:
        for mask, label in zip(_array(instances.masks).astype(bool), labels):
            image = np.where(mask[..., None], 0.5 * image + 0.5 * np.array(colours[label]), image)
    canvas = enlarge(image.astype(np.uint8))
    scale = canvas.width / image.shape[1]
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    for number, (box, label) in enumerate(zip(boxes, labels)):
        colour = tuple(int(c) for c in colours[label])
        draw.rectangle([float(v) * scale for v in box], outline=colour, width=2)
        words = [names[label]] if len(names) > 1 else []  # one class needs no name, which would hide small objects
        if 'scores' in instances:
            words.append(f'{float(instances.scores[number]):.2f}')
        if words:
            text = ' '.join(words)
            corner = (float(box[0]) * scale + 2, max(0.0, float(box[1]) * scale - 13))
            draw.rectangle(draw.textbbox(corner, text, font=font), fill=colour)
            draw.text(corner, text, fill=(0, 0, 0), font=font)
    return canvas


def _array(value) -> np.ndarray:
    """Boxes, labels or masks in any of the forms that mmdet keeps them in."""
    if hasattr(value, 'to_ndarray'):  # bitmap or polygon masks
        return value.to_ndarray()
    value = getattr(value, 'tensor', value)
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def enlarge(image: np.ndarray) -> Image.Image:
    """Scaled so that the shorter side has TILE pixels."""
    height, width = image.shape[:2]
    scale = TILE / min(height, width)
    return Image.fromarray(image).resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR)


def beside(pictures: list[Image.Image], gap: int) -> Image.Image:
    """Pictures in a row on white."""
    width = sum(p.width for p in pictures) + gap * (len(pictures) - 1)
    row = Image.new('RGB', (width, max(p.height for p in pictures)), 'white')
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + gap
    return row


def sheet(pairs: list[Image.Image], columns: int, gap: int = 10) -> Image.Image:
    """Rows of pairs on white."""
    rows = [beside(pairs[i : i + columns], gap) for i in range(0, len(pairs), columns)]
    page = Image.new('RGB', (max(r.width for r in rows), sum(r.height for r in rows) + gap * (len(rows) - 1)), 'white')
    top = 0
    for row in rows:
        page.paste(row, (0, top))
        top += row.height + gap
    return page
