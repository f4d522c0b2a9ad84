"""Images without labels: which are found, which are held out, and what is done with those that cannot be read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS
from PIL import Image

from mmvssm.inputs import Unreadable
from mmvssm.openmmlab.unlabelled import images_in, part_of


@pytest.fixture
def folder(tmp_path):
    for i in range(5):
        path = tmp_path / ('a' if i % 2 else 'b') / f'{i}.jpg'
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((30 + i, 47, 3), 40 * i, np.uint8)).save(path)
    return tmp_path


def built(folder, **more):
    return DATASETS.build(dict(type='mmvssm.UnlabelledImages', root=str(folder), size=24, **more))


@pytest.mark.parametrize('place', ['masks', 'annotations/train', 'gtFine', '.cache', 'panoptic_val2017'])
def test_label_images_are_none(folder, place):
    (folder / place).mkdir(parents=True)
    Image.new('L', (4, 4)).save(folder / place / 'x.png')
    (folder / 'a/notes.txt').write_text('x')
    assert [path.name for path in images_in(folder)] == ['1.jpg', '3.jpg', '0.jpg', '2.jpg', '4.jpg']


@pytest.mark.parametrize(('number', 'share', 'held'), [(1, 0.5, 1), (2, 0.05, 1), (40, 0.05, 2), (3, 0.9, 2)])
def test_a_share_is_held_out_and_never_all(number, share, held):
    images = [Path(str(i)) for i in range(number)]
    apart, rest = part_of(images, False, share), part_of(images, True, share)
    assert len(apart) == held
    assert number == 1 or sorted([*apart, *rest]) == sorted(images)
    assert rest


def test_nothing_is_held_out_where_another_folder_is_for_it(folder):
    assert len(built(folder, held_out=0)) == len(built(folder, held_out=0, training=True)) == 5


@pytest.mark.parametrize('training', [True, False])
def test_images_come_normalised_and_square(folder, training):
    image = built(folder, training=training, held_out=0)[0]['inputs']
    assert image.shape == (3, 24, 24)
    assert image.dtype == torch.float32
    assert image.mean() < 0


def test_images_are_turned_upright(tmp_path):
    image = Image.fromarray(np.repeat(np.arange(0, 250, 10, dtype=np.uint8)[:, None, None], 25, 1).repeat(3, 2))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    image.save(tmp_path / 'x.png', exif=exif)
    lines = built(tmp_path, crop=1.0)[0]['inputs'].mean((0, 1))
    assert (lines.diff() < 0).all()


def test_what_cannot_be_read_stops_or_is_skipped(folder):
    (folder / 'a/1.jpg').write_bytes(b'no image')
    with pytest.raises(Unreadable, match=r'1\.jpg'):
        built(folder, held_out=0)[0]
    images = built(folder, held_out=0, unreadable='skip')
    assert torch.equal(images[0]['inputs'], images[1]['inputs'])


def test_a_folder_without_images_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match='no images'):
        built(tmp_path)
