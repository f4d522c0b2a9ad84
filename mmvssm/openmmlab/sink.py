"""Where predictions go: pictures, videos, label images and one COCO file in a folder."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mmvssm import inputs
from mmvssm.inputs import Frame

from .found import Found
from .records import Records


class Sink:
    """Writes what a predictor finds.

    Args:
        folder: made if need be.
        classes: names.
        pictures: draw them.
        legend: below each.
    """

    def __init__(self, folder: Path, classes: tuple[str, ...], *, pictures: bool = True, legend: bool = True):
        self.folder, self.classes, self.pictures, self.legend = folder, classes, pictures, legend
        self.records = Records(classes)
        self.counts: Counter[str] = Counter()
        self.written: list[Path] = []
        self._names: set[str] = set()
        self._video: tuple[inputs.Source, cv2.VideoWriter, tuple[int, int]] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, frame: Frame, found: Found) -> None:
        """An image with what was found on it."""
        self.records.add(found, frame.source.name, frame.index)
        if found.instances is not None:
            self.counts.update(self.classes[label] for label in found.instances.labels)
        elif found.labels is not None:
            self.counts.update(self.classes[c] for c in np.unique(found.labels[found.labels < len(self.classes)]))
        if frame.index is not None:
            if self.pictures:
                self._film(frame, found)
            return
        path = self._path(frame, '.jpg')
        if self.pictures:
            found.picture(self.legend).save(path, quality=92)
            self.written.append(path)
        if found.labels is not None:
            (self.folder / 'labels').mkdir(exist_ok=True)
            Image.fromarray(found.labels.astype(np.uint8)).save(self.folder / 'labels' / f'{path.stem}.png')

    def _film(self, frame: Frame, found: Found) -> None:
        picture = found.picture(legend=False)  # whose height would change from frame to frame
        if self._video is None or self._video[0] != frame.source:
            self._end_video()
            path = self._path(frame, '.mp4')
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), frame.rate, picture.size)
            self._video = frame.source, writer, picture.size
            self.written.append(path)
        _, writer, size = self._video
        writer.write(np.asarray(picture.resize(size))[..., ::-1])

    def _path(self, frame: Frame, suffix: str) -> Path:
        """A new file, numbered where another input has the same name."""
        stem = Path(inputs.file_name(frame.source)).stem or 'image'
        name, number = stem, 2
        while name in self._names:
            name, number = f'{stem}_{number}', number + 1
        self._names.add(name)
        return self.folder / f'{name}{suffix}'

    def _end_video(self) -> None:
        if self._video is not None:
            self._video[1].release()
            self._video = None

    def close(self) -> None:
        """Finish videos, write predictions.json."""
        self._end_video()
        self.records.write(self.folder / 'predictions.json')

    def summary(self) -> str:
        """What was found and where it is."""
        images = len(self.records.content['images'])
        what = ', '.join(f'{count} {name}' for name, count in self.counts.most_common(8)) or 'nothing'
        more = f' and {len(self.counts) - 8} more classes' if len(self.counts) > 8 else ''
        made = f'{len(self.written)} pictures, ' if self.written else ''
        found = 'found' if self.records.content['annotations'] or not images else 'found above the score'
        return f'{found} on {images} images: {what}{more}\n{made}predictions.json: {self.folder}'
