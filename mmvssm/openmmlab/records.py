"""Predictions as COCO annotations with scores, which pycocotools and labelling tools read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as run_lengths

from .found import Found

MISSING = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)  # ids that COCO 2014 planned and its 80 classes lack
COCO_IDS = [number for number in range(1, 91) if number not in MISSING]


class Records:
    """Collects predictions of images and writes one COCO file.

    Args:
        classes: names, in the model's order; those of COCO keep COCO's ids, others are numbered from 1.
    """

    def __init__(self, classes: tuple[str, ...]):
        coco = len(classes) == 80 and classes[0] == 'person' and classes[-1] == 'toothbrush'
        self.ids = COCO_IDS if coco else list(range(1, len(classes) + 1))
        categories = [{'id': number, 'name': name} for number, name in zip(self.ids, classes)]
        self.content: dict[str, Any] = {'images': [], 'annotations': [], 'categories': categories}

    def add(self, found: Found, file_name: str, frame: int | None = None) -> None:
        """An image with what was found on it; frame: of a video."""
        height, width = found.image.shape[:2]
        image = {'id': len(self.content['images']) + 1, 'file_name': file_name, 'width': width, 'height': height}
        self.content['images'].append(image if frame is None else {**image, 'frame': frame})
        if found.labels is not None:
            for label in np.unique(found.labels[found.labels < len(self.ids)]):
                self._annotate(int(label), found.labels == label)
        elif found.instances is not None:
            boxes, labels, masks, scores = found.instances
            for i, label in enumerate(labels):
                score = None if scores is None else float(scores[i])
                self._annotate(int(label), None if masks is None else masks[i], boxes[i], score)

    def _annotate(self, label: int, mask: np.ndarray | None, box=None, score: float | None = None) -> None:
        entry: dict[str, Any] = {
            'id': len(self.content['annotations']) + 1,
            'image_id': len(self.content['images']),
            'category_id': self.ids[label],
            'iscrowd': 0,
        }
        if mask is not None:
            encoded = run_lengths.encode(np.asfortranarray(mask, dtype=np.uint8))
            entry['area'] = int(run_lengths.area(encoded))
            entry['bbox'] = [float(v) for v in run_lengths.toBbox(encoded)]
            entry['segmentation'] = {'size': [int(v) for v in encoded['size']], 'counts': encoded['counts'].decode()}
        if box is not None:
            left, top, right, bottom = (round(float(v), 2) for v in box)
            entry['bbox'] = [left, top, round(right - left, 2), round(bottom - top, 2)]
            entry.setdefault('area', round((right - left) * (bottom - top), 2))
        if score is not None:
            entry['score'] = round(score, 4)
        self.content['annotations'].append(entry)

    def write(self, path: Path) -> None:
        """Write the file."""
        path.write_text(json.dumps(self.content), encoding='utf-8')
