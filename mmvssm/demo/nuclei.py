"""Real images of the demo: 48 + 16 fluorescence pictures of cell nuclei, 256 x 256, every nucleus outlined by hand.

From the Data Science Bowl 2018 (Caicedo et al., Nature Methods 2019; CC0); `nuclei-images/provenance.json` names the
source of each. One folder serves both tasks:

    DIR/images/{training,validation}/nuclei_0001.png
    DIR/annotations/instances_{train,val}.json                 COCO: one category, masks as run lengths
    DIR/annotations/{training,validation}/nuclei_0001.png      ADE20K: 1 = background, 2 = nucleus
    DIR/classes.json                                           number in the label images -> name
"""

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

SOURCE = Path(__file__).with_name('nuclei-images')
SPLITS = {'training': 'train', 'validation': 'val'}
LAST = 'classes.json'


def write(out: str | Path) -> Path:
    """Writes the data set under `out` unless it is there already; returns `out`."""
    out = Path(out)
    if not is_complete(out):
        for folder, name in SPLITS.items():
            shutil.copytree(SOURCE / folder, out / 'images' / folder, dirs_exist_ok=True)
            annotations = out / f'annotations/instances_{name}.json'
            annotations.parent.mkdir(exist_ok=True)
            shutil.copyfile(SOURCE / annotations.name, annotations)
            _write_labels(annotations, out / 'annotations' / folder)
        (out / LAST).write_text(json.dumps({1: 'background', 2: 'nucleus'}))  # last: a folder that holds it is complete
    return out


def is_complete(out: str | Path) -> bool:
    """Whether `out` holds a data set that was written to the end."""
    return Path(out, LAST).is_file()


def _write_labels(annotations: Path, folder: Path) -> None:
    from pycocotools import mask

    content = json.loads(annotations.read_text())
    labels = {image['id']: np.ones((image['height'], image['width']), np.uint8) for image in content['images']}
    for nucleus in content['annotations']:
        labels[nucleus['image_id']] += mask.decode(nucleus['segmentation']) & (labels[nucleus['image_id']] == 1)
    folder.mkdir(exist_ok=True)
    for image in content['images']:
        Image.fromarray(labels[image['id']]).save(folder / image['file_name'])
