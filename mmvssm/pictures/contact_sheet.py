"""A contact sheet: images with masks, boxes and names, or painted classes, in rows."""

import colorsys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

TILE = 256  # shorter side of a picture on the sheet, pixels
Colours = Sequence[tuple[int, int, int]]


class Instances(NamedTuple):
    """Objects of one image.

    Attributes:
        boxes: (n, 4), x and y of two corners in pixels.
        labels: (n,) classes.
        masks: (n, H, W), or None.
        scores: (n,), or None.
    """

    boxes: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None = None
    scores: np.ndarray | None = None

    def only(self, kept: np.ndarray) -> 'Instances':
        """Those of some indices."""
        masks = None if self.masks is None else self.masks[kept]
        return Instances(self.boxes[kept], self.labels[kept], masks, None if self.scores is None else self.scores[kept])


def palette(number: int) -> list[tuple[int, int, int]]:
    """Distinct colours: hues a golden angle apart."""
    hues = [(0.61803 * i) % 1 for i in range(number)]
    colours = [colorsys.hsv_to_rgb(h, 0.75, 0.95) for h in hues]
    return [(int(255 * r), int(255 * g), int(255 * b)) for r, g, b in colours]


def paint_labels(image: np.ndarray, labels: np.ndarray, colours: Colours) -> Image.Image:
    """The image (H, W, 3) tinted with its labels' colours (H, W); labels without a colour (255) stay bare."""
    table: np.ndarray = np.zeros((256, 3), np.float32)
    table[: len(colours)] = colours
    if labels.shape != image.shape[:2]:
        image = np.asarray(Image.fromarray(image).resize(labels.shape[::-1], Image.Resampling.BILINEAR))
    known = (labels < len(colours))[..., None]
    return enlarge(np.where(known, 0.45 * image + 0.55 * table[labels], image).astype(np.uint8))


def paint_instances(
    image: np.ndarray, instances: Instances | None, names: Sequence[str], colours: Colours
) -> Image.Image:
    """The image with masks, boxes, names (of several classes) and scores (where there are any); None draws nothing."""
    if instances is None:
        return enlarge(image)
    boxes, labels, masks, scores = instances
    if masks is not None:
        for mask, label in zip(masks.astype(bool), labels):
            image = np.where(mask[..., None], 0.5 * image + 0.5 * np.array(colours[label]), image)
    canvas = enlarge(image.astype(np.uint8))
    scale = canvas.width / image.shape[1]
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    for number, (box, label) in enumerate(zip(boxes, labels)):
        colour = tuple(int(c) for c in colours[label])
        draw.rectangle([float(v) * scale for v in box], outline=colour, width=2)
        words = [names[label]] if len(names) > 1 else []  # one class needs no name, which would hide small objects
        if scores is not None:
            words.append(f'{float(scores[number]):.2f}')
        if words:
            text = ' '.join(words)
            corner = (float(box[0]) * scale + 2, max(0.0, float(box[1]) * scale - 13))
            draw.rectangle(draw.textbbox(corner, text, font=font), fill=colour)
            draw.text(corner, text, fill=(0, 0, 0), font=font)
    return canvas


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
