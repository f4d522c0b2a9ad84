"""Predictions on an image at its own size: masks, boxes and names, or painted classes, above a legend."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .contact_sheet import Colours, Instances, palette

UNIT = 400  # pixels of the longer side for which lines are one pixel wide
SMALLEST = 480  # pixels of the longer side: smaller images are enlarged, so that what is drawn can be read
LEGEND = 24  # classes at most in a legend


def paint_found(
    image: np.ndarray, found: Instances, names: Sequence[str], colours: Colours | None = None, legend: bool = True
) -> Image.Image:
    """Objects on their image.

    Args:
        image: (H, W, 3) uint8, RGB.
        found: objects; those with the highest scores are drawn last.
        names: of the classes.
        colours: one a class; objects of a model's only class have one each.
        legend: a strip below with the classes found and their numbers of objects.
    """
    image, found = _enlarged(image, found)
    single = len(names) == 1
    table = palette(len(found.boxes)) if single else colours or palette(len(names))
    shades = [table[i if single else label] for i, label in enumerate(found.labels)]
    width = max(1, round(max(image.shape[:2]) / UNIT))
    order = list(range(len(found.boxes)))
    if found.scores is not None:
        order = [int(i) for i in np.argsort(found.scores, kind='stable')]
    canvas = image
    if found.masks is not None:
        canvas = _fill(image, found.masks.astype(bool), shades, order, width)
    page = Image.fromarray(canvas)
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(9 + 3 * width)
    for i in order:
        box = [float(v) for v in found.boxes[i]]
        draw.rectangle(box, outline=shades[i], width=width)
        _name(draw, box, _words(found, i, names), shades[i], font, page.size)
    if not legend:
        return page
    counts = np.bincount(np.asarray(found.labels, int), minlength=len(names))
    grey = (120, 120, 120)
    rows = [
        (f'{names[c]} {counts[c]}', grey if single else table[c]) for c in map(int, np.argsort(-counts)) if counts[c]
    ]
    return with_legend(page, rows or [('nothing found', grey)])


def paint_classes(
    image: np.ndarray, labels: np.ndarray, names: Sequence[str], colours: Colours, legend: bool = True
) -> Image.Image:
    """Each pixel tinted with its class's colour, borders between classes drawn; the legend tells the share of each.

    Args:
        image: (H, W, 3) uint8, RGB; labels: (H, W) integers, other than classes for none.
        names, colours: one a class.
        legend: a strip below with the classes and their share of the image.
    """
    times = -(-SMALLEST // max(image.shape[:2]))
    image, labels = image.repeat(times, 0).repeat(times, 1), labels.repeat(times, 0).repeat(times, 1)
    table: np.ndarray = np.zeros((max(256, len(names)), 3), np.float32)
    table[: len(colours)] = colours
    known = (labels < len(names))[..., None]
    tinted = np.where(known, 0.5 * image + 0.5 * table[np.clip(labels, 0, len(table) - 1)], image)
    border = np.zeros(labels.shape, bool)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:] |= labels[1:] != labels[:-1]
    page = Image.fromarray(np.where(border[..., None], 255, tinted).astype(np.uint8))
    if not legend:
        return page
    shares = np.bincount(labels[labels < len(names)].ravel().astype(int), minlength=len(names)) / labels.size
    rows = [
        (f'{names[c]} {_percent(shares[c])}', (int(table[c][0]), int(table[c][1]), int(table[c][2])))
        for c in map(int, np.argsort(-shares))
        if shares[c]
    ]
    return with_legend(page, rows)


def with_legend(picture: Image.Image, rows: list[tuple[str, tuple[int, int, int]]]) -> Image.Image:
    """The picture above a strip of swatches with words, in as many lines as its width needs."""
    size = max(11, round(picture.width / 60))
    font, gap = ImageFont.load_default(size), round(0.6 * size)
    if len(rows) > LEGEND:
        rows = [*rows[:LEGEND], (f'and {len(rows) - LEGEND} more', (255, 255, 255))]
    places, x, line, height = [], gap, 0, size + gap
    for words, _ in rows:
        needed = size + gap // 2 + round(font.getlength(words)) + 2 * gap
        if x > gap and x + needed > picture.width:
            x, line = gap, line + 1
        places.append((x, line))
        x += needed
    page = Image.new('RGB', (picture.width, picture.height + (line + 1) * height + gap), 'white')
    page.paste(picture, (0, 0))
    draw = ImageDraw.Draw(page)
    for (words, colour), (x, line) in zip(rows, places):
        top = picture.height + gap + line * height
        draw.rectangle((x, top, x + size, top + size), fill=colour, outline='white' if colour[0] == 255 else 'black')
        draw.text((x + size + gap // 2, top + size / 2), words, fill='black', font=font, anchor='lm')
    return page


def _enlarged(image: np.ndarray, found: Instances) -> tuple[np.ndarray, Instances]:
    """By a whole number, up to the smallest size."""
    times = -(-SMALLEST // max(image.shape[:2]))
    if times == 1:
        return image, found
    size = (image.shape[1] * times, image.shape[0] * times)
    masks = None if found.masks is None else found.masks.repeat(times, 1).repeat(times, 2)
    large = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    return large, Instances(found.boxes * times, found.labels, masks, found.scores)


def _percent(share: float) -> str:
    return f'{100 * share:.0f} %' if share >= 0.01 else '< 1 %'


def _fill(image: np.ndarray, masks: np.ndarray, shades, order, width: int) -> np.ndarray:
    """Masks tinted, their outlines solid."""
    canvas: np.ndarray = image.astype(np.float32)
    for i in order:
        canvas[masks[i]] = 0.6 * canvas[masks[i]] + 0.4 * np.array(shades[i])
        canvas[_outline(masks[i], width)] = shades[i]
    return canvas.astype(np.uint8)


def _outline(mask: np.ndarray, width: int) -> np.ndarray:
    """The pixels of a mask within `width` of its border."""
    inner = np.pad(mask, width)
    for axis in (0, 1):
        moved = [np.roll(inner, step, axis) for step in range(-width, width + 1)]
        inner = np.logical_and.reduce(moved)
    return mask & ~inner[width:-width, width:-width]


def _words(found: Instances, i: int, names: Sequence[str]) -> list[str]:
    """The label of an object, longest form first."""
    name = [names[int(found.labels[i])]] if len(names) > 1 else []  # the only class is told by the legend
    score = [] if found.scores is None else [f'{float(found.scores[i]):.2f}']
    return [' '.join([*name, *score]), *name, *score] if name or score else []


def _name(draw: ImageDraw.ImageDraw, box, forms: list[str], colour, font, size) -> None:
    """The longest form that is not much wider than the object, at its upper left corner and inside of the image."""
    for words in forms:
        left, _, right, bottom = font.getbbox(words)
        wide, high = right - left + 4, bottom + 2
        if wide <= 1.3 * (box[2] - box[0]) and high <= 0.6 * (box[3] - box[1]):
            x = min(max(box[0], 0), max(size[0] - wide, 0))
            y = box[1] - high if box[1] >= high else box[1]
            draw.rectangle((x, y, x + wide, y + high), fill=colour)
            ink = 'black' if 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2] > 128 else 'white'
            draw.text((x + 2, y), words, fill=ink, font=font)
            return
