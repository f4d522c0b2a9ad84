"""Images without labels, as `mmvssm.UnlabelledImages` reads them."""

from pathlib import Path

from mmengine.config import Config, ConfigDict

from mmvssm.data.check import Report
from mmvssm.openmmlab.layouts.layout import DataError
from mmvssm.openmmlab.unlabelled import HELD_OUT, images_in, part_of

from . import images


def look(cfg: Config, dataset: ConfigDict, split: str, unreadable: str, report: Report) -> list[str]:
    """See :func:`look_for`; with 'skip' the data set itself leaves out what it cannot read.

    Raises:
        DataError: no images, or an unreadable one among those that are looked at.
    """
    root = Path(dataset.root)
    found = part_of(images_in(root), dataset.get('training', False), dataset.get('held_out', HELD_OUT))
    if not found:
        raise DataError(f'{root} has no images')
    bad = images.unreadable(found, report)
    if bad and unreadable == 'stop':
        raise DataError(f'the image {bad[0]} cannot be read; remove it, or leave out what cannot: --unreadable skip')
    dataset.unreadable = unreadable
    report.images[split] = len(found)
    return [f'{root}: {len(bad)} images cannot be read and are left out ({bad[0]}, ...)'] if bad else []
