"""Label images before training, in each layout: refused with the file, or read as the class says."""

import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmvssm.openmmlab import data
from tests.openmmlab.test_data import CONFIGS, built

H, W = 48, 72


def picture(path, seed=0, size=(W, H)):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(values).save(path)


def label(path, value=None, size=(W, H)):
    path.parent.mkdir(parents=True, exist_ok=True)
    if value is None:
        value = np.zeros((size[1], size[0]), np.uint8)
        value[5:30, 5:40], value[20:40, 30:60] = 1, 2
    Image.fromarray(value).save(path)


def ade(root, labels=label, suffix='.png', classes=('a', 'b', 'c')):
    for split in ('training', 'validation'):
        for i in range(3):
            picture(root / f'images/{split}/{i:03d}.jpg', i)
            labels(root / f'annotations/{split}/{i:03d}{suffix}')
    (root / 'classes.json').write_text(json.dumps(dict(classes=list(classes))))


@pytest.fixture
def segmentor(tmp_path):
    cfg = Config.fromfile(CONFIGS / 'upernet_vmamba_t.py')
    cfg.work_dir = str(tmp_path / 'run')
    return cfg


def looked(cfg, root, **kwargs):
    data.point_to(cfg, str(root))
    return data.check(cfg, 'train', **kwargs)


def values(number, channels=None, size=(W, H)):
    shape = (size[1], size[0]) if channels is None else (size[1], size[0], channels)
    return lambda path: label(path, np.full(shape, number, np.uint8))


def of_0_and_255(path):
    value = np.zeros((H, W), np.uint8)
    value[:20] = 255
    label(path, value)


REFUSED = {
    'colours': (dict(labels=values(1, 3)), r'the label image .*000\.png has colours \(RGB\)'),
    'colours and transparency': (dict(labels=values(1, 4)), r'has colours \(RGBA\)'),
    'half the size': (dict(labels=values(1, size=(W // 2, H // 2))), 'is 36 x 24, its image 000.jpg 72 x 48'),
    'a label too high': (dict(labels=values(3)), 'holds the label 3; allowed: 0 to 2 and 255'),
    '0 and 255 alone': (
        dict(labels=of_0_and_255, classes=('nothing', 'object')),
        'hold 0 and 255 alone.*object would not',
    ),
    'one class under softmax': (dict(labels=values(0), classes=('x',)), 'softmax over one class learns nothing'),
}


@pytest.mark.parametrize('what', REFUSED)
def test_refused(what, segmentor, tmp_path):
    arguments, message = REFUSED[what]
    ade(tmp_path / 'd', **arguments)
    with pytest.raises(data.DataError, match=message) as caught:
        looked(segmentor, tmp_path / 'd')
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize('suffix', ['.png', '.tif', '_mask.png', '_labels.png'])
def test_label_images_of_other_names_are_found(suffix, segmentor, tmp_path):
    ade(tmp_path / 'd', suffix=suffix)
    looked(segmentor, tmp_path / 'd')
    assert set(built(segmentor, 'train')[0]['data_samples'].gt_sem_seg.data.unique().tolist()) <= {0, 1, 2, 255}


def test_a_label_image_that_is_gone_is_named(segmentor, tmp_path):
    ade(tmp_path / 'd')
    (tmp_path / 'd/annotations/training/001.png').unlink()
    with pytest.raises(data.DataError, match=r'001\.jpg has no label image .*001\.png'):
        looked(segmentor, tmp_path / 'd')


def test_an_image_that_cannot_be_read_stops_or_is_skipped(segmentor, tmp_path):
    ade(tmp_path / 'd')
    (tmp_path / 'd/images/training/001.jpg').write_bytes(b'')
    with pytest.raises(data.DataError, match=r'001\.jpg cannot be read\n`--unreadable skip`'):
        looked(segmentor, tmp_path / 'd')
    assert looked(segmentor, tmp_path / 'd', unreadable='skip').images == {'train': 2}
    assert len(built(segmentor, 'train')) == 2


def test_a_class_that_is_nowhere_is_told(segmentor, tmp_path, capsys):
    ade(tmp_path / 'd', classes=('a', 'b', 'c', 'zebra'))
    looked(segmentor, tmp_path / 'd')
    assert 'of the classes zebra there is nothing in 3 label images' in capsys.readouterr().out


def voc(root):
    for i in range(4):
        picture(root / f'JPEGImages/{i}.jpg', i)
        label(root / f'SegmentationClass/{i}.png')
    lists = root / 'ImageSets/Segmentation'
    lists.mkdir(parents=True)
    (lists / 'train.txt').write_text('0\n1\n2\n')
    (lists / 'val.txt').write_text('3\n')


def cityscapes(root):
    for split in ('train', 'val'):
        for i in range(3):
            picture(root / f'leftImg8bit/{split}/x/x_{i}_leftImg8bit.png', i)
            label(root / f'gtFine/{split}/x/x_{i}_gtFine_labelTrainIds.png')
            values(99, 4)(root / f'gtFine/{split}/x/x_{i}_gtFine_color.png')


def pairs(images, labels, flipped=False):
    def write(root):
        for split in ('train', 'val'):
            first, second = (
                (f'{split}/{images}', f'{split}/{labels}') if flipped else (f'{images}/{split}', f'{labels}/{split}')
            )
            for i in range(3):
                picture(root / first / f'{i}.jpg', i)
                label(root / second / f'{i}.png')

    return write


# layout -> (how it is written, its classes)
LAYOUTS = {
    'ADE20K': (ade, 3),
    'VOC': (voc, 21),
    'VOC in its archive': (lambda root: voc(root / 'VOCdevkit/VOC2012'), 21),
    'Cityscapes': (cityscapes, 19),
    'images and masks': (pairs('images', 'masks'), 3),
    'images and labels': (pairs('images', 'labels'), 3),
    'img_dir and ann_dir': (pairs('img_dir', 'ann_dir'), 3),
    'train/images and train/masks': (pairs('images', 'masks', flipped=True), 3),
}


@pytest.mark.parametrize('layout', LAYOUTS)
def test_a_layout_is_recognised_and_read(layout, segmentor, tmp_path):
    write, number = LAYOUTS[layout]
    write(tmp_path / 'd')
    looked(segmentor, tmp_path / 'd')
    data.check(segmentor, 'val')
    dataset = built(segmentor, 'train')
    assert len(dataset) == 3
    assert len(dataset.metainfo['classes']) == segmentor.model.decode_head.num_classes == number
    sample = dataset[0]
    assert sample['data_samples'].gt_sem_seg.data.shape[-2:] == sample['inputs'].shape[-2:]


def test_something_else_is_told_what_is_wanted_in_three_lines(segmentor, tmp_path):
    picture(tmp_path / 'd/a.jpg')
    with pytest.raises(data.DataError, match=r'it holds a\.jpg\nwanted: JPEGImages.*\n`mmvssm data convert`') as caught:
        looked(segmentor, tmp_path / 'd')
    assert len(str(caught.value).splitlines()) == 3


def test_cityscapes_without_train_ids_says_what_makes_them(segmentor, tmp_path):
    cityscapes(tmp_path / 'd')
    for path in Path(tmp_path / 'd').rglob('*labelTrainIds.png'):
        path.unlink()
    with pytest.raises(data.DataError, match='csCreateTrainIdLabelImgs'):
        looked(segmentor, tmp_path / 'd')
