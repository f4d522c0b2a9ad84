"""The embedded nuclei: whole, in both layouts, the same objects in each."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask
from pycocotools.coco import COCO

from mmvssm.demo import EMBEDDED, nuclei


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return nuclei.write(tmp_path_factory.mktemp('nuclei'))


@pytest.mark.parametrize(('name', 'images', 'objects'), [('train', 48, 952), ('val', 16, 310)])
def test_counts_are_those_of_the_source(folder, name, images, objects):
    coco = COCO(str(folder / f'annotations/instances_{name}.json'))
    assert (len(coco.imgs), len(coco.anns), coco.loadCats(coco.getCatIds())[0]['name']) == (images, objects, 'nucleus')


@pytest.mark.parametrize(('split', 'name'), [('training', 'train'), ('validation', 'val')])
def test_label_images_are_the_union_of_the_masks(folder, split, name):
    coco = COCO(str(folder / f'annotations/instances_{name}.json'))
    for image in coco.imgs.values():
        label = np.asarray(Image.open(folder / 'annotations' / split / image['file_name']))
        assert Image.open(folder / 'images' / split / image['file_name']).size == (256, 256)
        masks = [mask.decode(one['segmentation']) for one in coco.imgToAnns[image['id']]]
        assert np.array_equal(label, 1 + np.any(masks, axis=0))


def test_every_picture_has_its_source():
    provenance = json.loads((nuclei.SOURCE / 'provenance.json').read_text())
    files = {path.relative_to(nuclei.SOURCE).as_posix() for path in nuclei.SOURCE.glob('*/*.png')}
    assert set(provenance['files']) == files
    assert 'CC0' in provenance['licence']


def test_a_complete_folder_is_left_as_it_is(folder):
    path = folder / 'annotations/instances_val.json'
    before = path.stat().st_mtime_ns
    nuclei.write(folder)
    assert path.stat().st_mtime_ns == before


def test_an_interrupted_folder_is_written_again(tmp_path):
    nuclei.write(tmp_path)
    (tmp_path / 'classes.json').unlink()
    (tmp_path / 'images/validation').rename(tmp_path / 'elsewhere')
    assert not nuclei.is_complete(tmp_path)
    assert len(list((nuclei.write(tmp_path) / 'images/validation').glob('*.png'))) == 16


def test_demo_means_the_nuclei():
    assert EMBEDDED['demo'] is EMBEDDED['nuclei'] is not EMBEDDED['shapes']
