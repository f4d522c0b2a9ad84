"""The embedded demo data set: overlapping textured shapes, as COCO instances and as ADE20K label images.

A scene holds several shapes of four classes, at any angle and size, partly hidden by one another, over a noisy
textured background with clutter. Colour, texture, size and place are drawn independently of the class, so only the
outline tells it. Everything follows from one seed. One folder serves both tasks, with the same scenes:

    DIR/images/{training,validation}/00000.jpg
    DIR/annotations/instances_{train,val}.json        COCO: categories 1..4, visible masks as exact polygons
    DIR/annotations/{training,validation}/00000.png   ADE20K: 1 = background, 2..5 = classes
    DIR/classes.json                                  number in the label images -> name

`python -m mmvssm.demo.shapes --out data/shapes` writes it.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmvssm.demo.polygons import polygons

CLASSES = ('disc', 'triangle', 'star', 'ring')
SIZE = 128
SPLITS = {'training': ('train', 480), 'validation': ('val', 96)}
MARKER = 'recipe.json'
MIN_VISIBLE = 0.5  # of an object's own area; below that nobody could name it


@dataclass
class Scene:
    """An image with its objects, farthest first."""

    image: np.ndarray  # (H, W, 3) uint8
    masks: np.ndarray  # (N, H, W) bool, the visible part of each object
    labels: np.ndarray  # (N,) int, index into CLASSES

    def semantic(self) -> np.ndarray:
        """(H, W) uint8 label image: 1 = background, 2 + label elsewhere."""
        out = np.ones(self.image.shape[:2], np.uint8)
        for mask, label in zip(self.masks, self.labels):
            out[mask] = 2 + label
        return out


def _inside(label: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether points in an object's own frame (circumscribed circle of radius 1) lie in the shape."""
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    name = CLASSES[label]
    if name == 'disc':
        return radius < 0.85
    if name == 'ring':
        return (radius < 0.92) & (radius > 0.4)
    corners, apothem = (3, 0.5) if name == 'triangle' else (5, 0.5)
    turn = 2 * np.pi / corners
    fold = abs((angle + turn / 2) % turn - turn / 2)  # angle to the nearest corner, by symmetry
    if name == 'triangle':
        return radius * np.cos(turn / 2 - fold) < apothem
    # a star's edge runs from the tip (1, angle 0) to the notch (apothem, angle turn / 2)
    notch_x, notch_y = apothem * np.cos(turn / 2), apothem * np.sin(turn / 2)
    return radius * np.cos(fold) * notch_y + radius * np.sin(fold) * (1 - notch_x) < notch_y


def _place(rng: np.random.Generator, label: int, size: int, near: tuple[float, float] | None):
    """A shape's bitmap (H, W), its centre; near: a centre to overlap with."""
    radius = size * rng.uniform(0.17, 0.28)
    low, high = 0.6 * radius, size - 0.6 * radius
    if near is None:
        centre = rng.uniform(low, high, 2)
    else:
        direction = rng.uniform(0, 2 * np.pi)
        step = radius * rng.uniform(0.6, 1.4)
        centre = np.clip(np.array(near) + step * np.array([np.cos(direction), np.sin(direction)]), low, high)
    angle, stretch = rng.uniform(0, 2 * np.pi), rng.uniform(0.85, 1.15)
    rows, cols = np.mgrid[:size, :size] + 0.5
    dx, dy = (cols - centre[0]) / radius, (rows - centre[1]) / radius
    x = (np.cos(angle) * dx + np.sin(angle) * dy) * stretch
    y = (-np.sin(angle) * dx + np.cos(angle) * dy) / stretch
    return _inside(label, x, y), (float(centre[0]), float(centre[1]))


def _smooth_noise(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """(size, size) noise in about [-1, 1] that varies over size / cells pixels."""
    coarse = Image.fromarray(rng.uniform(-1, 1, (cells + 1, cells + 1)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))


def _pattern(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, size) pattern in [-1, 1]: stripes, checks, patches, a slope or next to nothing."""
    rows, cols = np.mgrid[:size, :size] / size
    angle, waves = rng.uniform(0, np.pi), rng.uniform(6, 18)
    u, v = np.cos(angle) * cols + np.sin(angle) * rows, -np.sin(angle) * cols + np.cos(angle) * rows
    kind = rng.integers(5)
    if kind == 0:
        return np.sign(np.sin(2 * np.pi * waves * u + rng.uniform(0, 6)))
    if kind == 1:
        return np.sign(np.sin(2 * np.pi * waves * u) * np.sin(2 * np.pi * waves * v))
    if kind == 2:
        return _smooth_noise(rng, size, 16)
    if kind == 3:
        return 2 * (u - u.min()) / (u.max() - u.min()) - 1
    return np.zeros((size, size))


def _paint(rng: np.random.Generator, size: int, vivid: bool) -> np.ndarray:
    """(size, size, 3) float texture: a random colour modulated by a pattern towards a second one.

    vivid: a saturated bright colour (objects) or a dull one (backgrounds); hues are uniform in both.
    """
    hue = rng.uniform(0, 1)
    wheel = np.clip(abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)  # the pure colour of that hue
    saturation, value = (
        (rng.uniform(0.6, 1), rng.uniform(170, 250)) if vivid else (rng.uniform(0, 0.35), rng.uniform(30, 140))
    )
    first = value * (1 - saturation + saturation * wheel)
    second = np.clip(first + rng.uniform(-60, 60, 3), 0, 255)
    mix = 0.5 + 0.5 * _pattern(rng, size)[..., None]
    return first * mix + second * (1 - mix)


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, size, 3) float: a texture with large blotches and strokes that belong to no object."""
    canvas = _paint(rng, size, vivid=False) + 20 * np.stack([_smooth_noise(rng, size, 5) for _ in range(3)], -1)
    rows, cols = np.mgrid[:size, :size]
    for _ in range(rng.integers(2, 6)):
        (x, y), angle = rng.uniform(0, size, 2), rng.uniform(0, np.pi)
        along = np.cos(angle) * (cols - x) + np.sin(angle) * (rows - y)
        aside = -np.sin(angle) * (cols - x) + np.cos(angle) * (rows - y)
        stroke = (abs(along) < rng.uniform(0.05, 0.3) * size) & (abs(aside) < rng.uniform(0.5, 2.0))
        canvas[stroke] = rng.uniform(0, 255) + rng.uniform(-30, 30, 3)
    return canvas


def draw_scene(seed: int | tuple[int, ...], size: int = SIZE) -> Scene:
    """The scene of a seed: the same on every machine."""
    rng = np.random.default_rng(seed)
    image = _background(rng, size)
    full: list[np.ndarray] = []
    visible: list[np.ndarray] = []
    labels: list[int] = []
    centres: list[tuple[float, float]] = []
    wanted = rng.integers(2, 6)
    for _ in range(4 * wanted):
        if len(labels) == wanted:
            break
        label = int(rng.integers(len(CLASSES)))
        near = centres[rng.integers(len(centres))] if centres and rng.random() < 0.6 else None
        mask, centre = _place(rng, label, size, near)
        texture = _paint(rng, size, vivid=True)
        left = [v & ~mask for v in visible]
        # objects at the border are cut there, so their full area is what the image holds of them
        if any(v.sum() < MIN_VISIBLE * f.sum() for v, f in zip(left, full)):
            continue
        if abs(texture[mask].mean(0) - image[mask].mean(0)).max() < 30:  # it would vanish
            continue
        image[mask] = texture[mask]
        full.append(mask)
        visible = [*left, mask]
        labels.append(label)
        centres.append(centre)
    image = image * rng.uniform(0.75, 1.1) + rng.normal(0, rng.uniform(4, 12), image.shape)
    return Scene(np.clip(image, 0, 255).astype(np.uint8), np.stack(visible), np.array(labels))


def coco_annotations(scene: Scene, image_id: int, first_id: int) -> list[dict]:
    """COCO's records of a scene's objects: visible masks as polygons, boxes and areas of those pixels."""
    records = []
    for number, (mask, label) in enumerate(zip(scene.masks, scene.labels)):
        rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        x, y = int(cols[0]), int(rows[0])
        records.append(
            {
                'id': first_id + number,
                'image_id': image_id,
                'category_id': int(label) + 1,
                'bbox': [x, y, int(cols[-1]) + 1 - x, int(rows[-1]) + 1 - y],
                'area': int(mask.sum()),
                'segmentation': polygons(mask),
                'iscrowd': 0,
            }
        )
    return records


def write(
    out: str | Path, train: int = SPLITS['training'][1], val: int = SPLITS['validation'][1], seed: int = 0
) -> Path:
    """Writes the data set under `out` unless the same one is there already; returns `out`.

    train, val: numbers of images. seed: another seed gives other scenes; no scene stands in both splits.
    """
    out = Path(out)
    recipe = {'generator': 'mmvssm.demo.shapes', 'version': 4, 'train': train, 'val': val, 'seed': seed}
    marker = out / MARKER
    if marker.is_file() and json.loads(marker.read_text()) == recipe:
        return out
    marker.unlink(missing_ok=True)
    for number, (folder, count) in enumerate({'training': train, 'validation': val}.items()):
        _write_split(out, folder, SPLITS[folder][0], [(seed, number, i) for i in range(count)])
    names = {i + 1: name for i, name in enumerate(['background', *CLASSES])}
    (out / 'classes.json').write_text(json.dumps(names, indent=1))
    marker.write_text(json.dumps(recipe))  # last: a folder that holds it is complete
    return out


def is_complete(out: str | Path) -> bool:
    """Whether `out` holds a data set that was written to the end."""
    return Path(out, MARKER).is_file()


def _write_split(out: Path, folder: str, name: str, seeds: list[tuple[int, ...]]) -> None:
    images, labels = out / 'images' / folder, out / 'annotations' / folder
    for path in (images, labels):
        path.mkdir(parents=True, exist_ok=True)
    coco: dict[str, Any] = {
        'info': {'description': 'mmvssm demo shapes'},
        'images': [],
        'annotations': [],
        'categories': [{'id': i + 1, 'name': c, 'supercategory': 'shape'} for i, c in enumerate(CLASSES)],
    }
    for number, seed in enumerate(seeds):
        scene = draw_scene(seed)
        height, width = scene.image.shape[:2]
        file_name = f'{number:05d}.jpg'
        Image.fromarray(scene.image).save(images / file_name, quality=92, subsampling=0)
        Image.fromarray(scene.semantic()).save(labels / f'{number:05d}.png')
        coco['images'].append({'id': number + 1, 'file_name': file_name, 'height': height, 'width': width})
        coco['annotations'] += coco_annotations(scene, number + 1, len(coco['annotations']) + 1)
    (out / 'annotations' / f'instances_{name}.json').write_text(json.dumps(coco))


def main() -> None:
    """`python -m mmvssm.demo.shapes`."""
    parser = argparse.ArgumentParser(description='Write the embedded demo data set.')
    parser.add_argument('--out', default='data/shapes', help='folder to write (default: %(default)s)')
    parser.add_argument('--train', type=int, default=SPLITS['training'][1], help='training images')
    parser.add_argument('--val', type=int, default=SPLITS['validation'][1], help='validation images')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    out = write(args.out, args.train, args.val, args.seed)
    print(f'{args.train} training and {args.val} validation images with COCO and ADE20K annotations in {out}')


if __name__ == '__main__':
    main()
