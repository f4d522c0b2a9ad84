"""COCO files before training: refused with file, number and key, put right where there is one right value."""

import json
import shutil
from pathlib import Path

import pytest
from mmengine.config import Config
from PIL import Image

from mmvssm.demo import shapes
from mmvssm.openmmlab import data
from tests.openmmlab.test_data import CONFIGS, built, edit


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    return shapes.write(tmp_path_factory.mktemp('demo'), train=4, val=2)


@pytest.fixture
def folder(demo, tmp_path):
    return Path(shutil.copytree(demo, tmp_path / 'data'))


@pytest.fixture
def detector(tmp_path):
    cfg = Config.fromfile(CONFIGS / 'mask_rcnn_vmamba_t.py')
    cfg.work_dir = str(tmp_path / 'run')
    return cfg


def train_file(folder) -> Path:
    return folder / 'annotations/instances_train.json'


def looked(cfg, folder, **kwargs):
    data.point_to(cfg, str(folder))
    return data.check(cfg, 'train', **kwargs)


def first(kind, **changes):
    return lambda content: content[kind][0].update(changes)


def without(kind, key):
    return lambda content: content[kind][0].pop(key)


REFUSED = {
    'category without a name': (without('categories', 'name'), r"category number 0 has no 'name'"),
    'category with a number for a name': (first('categories', name=3), r"category number 0 has no 'name'"),
    'image without a file': (without('images', 'file_name'), r"image number 0 has no 'file_name'"),
    'image without a width': (without('images', 'width'), r"image number 0 has no 'width'"),
    'height of text': (first('images', height='64'), r"image number 0: height='64' is not a whole number of pixels"),
    'width of zero': (first('images', width=0), r"image number 0: width='0' is not a whole number of pixels"),
    'image that is no record': (lambda c: c['images'].append(3), 'image number 4 is no record'),
    'box of null': (first('annotations', bbox=None), "annotation number 0: bbox='None' is not four numbers"),
    'box of texts': (
        first('annotations', bbox=['1', '2', '3', '4']),
        'annotation number 0: bbox=.* is not four numbers',
    ),
    'box of nan': (first('annotations', bbox=[1, 2, float('nan'), 4]), 'is not four numbers'),
    'box of three': (first('annotations', bbox=[1, 2, 3]), 'the bbox of annotation number 0 has not four numbers'),
    'no image id': (without('annotations', 'image_id'), "annotation number 0 has no 'image_id'"),
    'no category id': (without('annotations', 'category_id'), "annotation number 0 has no 'category_id'"),
    'two images of one id': (lambda c: c['images'][1].update(id=c['images'][0]['id']), '2 images have the id'),
    'two categories of one id': (lambda c: c['categories'][1].update(id=c['categories'][0]['id']), '2 categories have'),
    'no mask': (without('annotations', 'segmentation'), r'annotation number 0 \(id 1\): segmentation=None is no mask'),
    'empty mask': (first('annotations', segmentation=[]), r'segmentation=\[\] is no mask'),
    'null mask': (first('annotations', segmentation=None), 'segmentation=None is no mask'),
    'mask of empty polygons': (first('annotations', segmentation=[[]]), r'segmentation=\[\[\]\] is no mask'),
    'no annotation at all': (lambda c: c.update(annotations=[]), 'none of the 4 images has an annotation'),
    'records of another size': (first('images', width=64, height=32), 'is recorded as 64 x 32, the file is 128 x 128'),
}


@pytest.mark.parametrize('what', REFUSED)
def test_refused(what, detector, folder):
    spoil, message = REFUSED[what]
    edit(train_file(folder), spoil)
    with pytest.raises(data.DataError, match=message) as caught:
        looked(detector, folder)
    assert 'instances_train.json' in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


def all_annotations(**changes):
    return lambda c: [one.update(changes) for one in c['annotations']]


FLAT = [1, 1, 9, 1, 9, 9]
MENDED = {
    'ids from zero': (lambda c: [one.update(id=i) for i, one in enumerate(c['annotations'])], 'numbered anew', 'id', 1),
    'ids twice': (all_annotations(id=7), 'numbered anew', 'id', 1),
    'ids of text': (lambda c: [one.update(id=f'a{i}') for i, one in enumerate(c['annotations'])], 'anew', 'id', 1),
    'no ids': (lambda c: [one.pop('id') for one in c['annotations']], 'numbered anew', 'id', 1),
    'no iscrowd': (lambda c: c['annotations'][0].pop('iscrowd'), '1 annotations had no iscrowd; it is 0', 'iscrowd', 0),
    'no area': (lambda c: [one.pop('area') for one in c['annotations']], 'had no area', 'area', None),
    'flat polygon': (first('annotations', segmentation=FLAT), 'polygon', 'segmentation', [FLAT]),
}  # fmt: skip


@pytest.mark.parametrize('what', MENDED)
def test_put_right_in_a_copy_and_said(what, detector, folder, capsys):
    spoil, said, key, value = MENDED[what]
    edit(train_file(folder), spoil)
    before = train_file(folder).read_text()
    looked(detector, folder)
    assert said in capsys.readouterr().out
    assert train_file(folder).read_text() == before
    copy = Path(detector.train_dataloader.dataset.ann_file)
    assert Path(detector.work_dir).absolute() in copy.parents
    one = json.loads(copy.read_text())['annotations'][0]
    box = one['bbox']
    assert one[key] == (box[2] * box[3] if value is None else value)
    assert len(built(detector, 'train')) == 4


def test_perfect_predictions_on_ids_from_zero_score_1(detector, folder):
    import torch
    from mmdet.evaluation import CocoMetric

    for split in ('train', 'val'):
        path = folder / f'annotations/instances_{split}.json'
        edit(path, lambda c: [one.update(id=i) for i, one in enumerate(c['annotations'])])
    data.point_to(detector, str(folder))
    data.check(detector, 'val')
    metric = CocoMetric(ann_file=detector.val_evaluator.ann_file, metric='bbox')
    metric.dataset_meta = dict(classes=shapes.CLASSES)
    content = json.loads((folder / 'annotations/instances_val.json').read_text())
    labels = {one['id']: place for place, one in enumerate(content['categories'])}
    for image in content['images']:
        own = [one for one in content['annotations'] if one['image_id'] == image['id']]
        boxes = torch.tensor([one['bbox'] for one in own]).float()
        boxes[:, 2:] += boxes[:, :2]
        found = dict(
            bboxes=boxes, scores=torch.ones(len(own)), labels=torch.tensor([labels[one['category_id']] for one in own])
        )
        metric.process({}, [dict(pred_instances=found, img_id=image['id'], ori_shape=(128, 128))])
    assert metric.evaluate(len(content['images']))['coco/bbox_mAP'] == 1.0


def own_classes(cfg, folder, names):
    data.point_to(cfg, str(folder))
    cfg.train_dataloader.dataset.metainfo = dict(classes=names)


def test_classes_in_another_order_than_the_categories_keep_their_names(detector, folder):
    names = shapes.CLASSES[::-1]
    own_classes(detector, folder, names)
    data.check(detector, 'train')
    dataset = built(detector, 'train')
    content = json.loads(train_file(folder).read_text())
    by_id = {one['id']: one['name'] for one in content['categories']}
    expected = [
        by_id[one['category_id']]
        for one in content['annotations']
        if one['image_id'] == dataset.get_data_info(0)['img_id']
    ]
    assert [names[one['bbox_label']] for one in dataset.get_data_info(0)['instances']] == expected


def test_a_misspelt_class_is_named_with_the_near_one(detector, folder):
    own_classes(detector, folder, ('disk', *shapes.CLASSES[1:]))
    with pytest.raises(data.DataError, match=r"has no category 'disk', .*did you mean disc"):
        data.check(detector, 'train')


def test_none_of_the_classes(detector, folder):
    own_classes(detector, folder, ('cat', 'dog'))
    with pytest.raises(data.DataError, match=r'has none of the classes of this config \(cat, dog\).*\n.*metainfo=dict'):
        data.check(detector, 'train')


def test_a_choice_of_the_categories_is_fine(detector, folder):
    own_classes(detector, folder, shapes.CLASSES[:2])
    assert data.check(detector, 'train').images == {'train': 4}


def test_the_same_categories_in_another_order_in_validation(detector, folder):
    edit(folder / 'annotations/instances_val.json', lambda c: c['categories'].reverse())
    data.point_to(detector, str(folder))
    data.check(detector, 'val')
    content = json.loads(Path(detector.val_dataloader.dataset.ann_file).read_text())
    assert [one['name'] for one in content['categories']] == list(shapes.CLASSES)
    assert detector.val_evaluator.ann_file == detector.val_dataloader.dataset.ann_file


UNREADABLE = {
    'empty': (lambda path: path.write_bytes(b''), 'is empty'),
    'gone': (lambda path: path.unlink(), 'is not there'),
    'no image': (lambda path: path.write_text('hello'), 'cannot be read'),
}


@pytest.mark.parametrize('what', UNREADABLE)
def test_an_image_that_cannot_be_read(what, detector, folder):
    spoil, words = UNREADABLE[what]
    spoil(folder / 'images/training/00003.jpg')
    with pytest.raises(data.DataError, match=rf'00003\.jpg {words}\n`--unreadable skip`'):
        looked(detector, folder)


def test_images_that_cannot_be_read_are_skipped_on_request(detector, folder, capsys):
    (folder / 'images/training/00002.jpg').write_bytes(b'')
    report = looked(detector, folder, unreadable='skip')
    assert '1 images that cannot be read are left out (00002.jpg)' in capsys.readouterr().out
    assert report.images == {'train': 3}
    assert len(built(detector, 'train')) == 3


def turn(path, orientation=6):
    image = Image.open(path).crop((0, 0, 128, 96))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)


def with_sizes(folder, sizes):
    def change(content):
        for image, (width, height) in zip(content['images'], sizes):
            image.update(width=width, height=height)

    edit(train_file(folder), change)


def test_images_annotated_as_stored_are_read_as_stored(detector, folder):
    for path in (folder / 'images/training').glob('*.jpg'):
        turn(path)
    with_sizes(folder, [(128, 96)] * 4)
    looked(detector, folder)
    assert built(detector, 'train')[0]['data_samples'].ori_shape == (96, 128)


def test_images_annotated_as_turned_are_turned(detector, folder):
    for path in (folder / 'images/training').glob('*.jpg'):
        turn(path)
    with_sizes(folder, [(96, 128)] * 4)
    looked(detector, folder)
    assert built(detector, 'train')[0]['data_samples'].ori_shape == (128, 96)


def test_images_annotated_in_both_ways_are_refused(detector, folder):
    for path in (folder / 'images/training').glob('*.jpg'):
        turn(path)
    with_sizes(folder, [(128, 96), (96, 128), (96, 128), (96, 128)])
    with pytest.raises(data.DataError, match='of the images that EXIF turns some are annotated as stored'):
        looked(detector, folder)


def test_all_images_too_small(detector, folder):
    looked_at = detector.train_dataloader.dataset
    looked_at.filter_cfg = dict(filter_empty_gt=True, min_size=200)
    with pytest.raises(data.DataError, match=r'all 4 images are smaller than filter_cfg\.min_size=200'):
        looked(detector, folder)


@pytest.mark.parametrize('content', ['[', '{"odgt": 1}', ''])
def test_formats_that_are_not_known_need_to_be_there_alone(content, detector, folder):
    data.point_to(detector, str(folder))
    (folder / 'annotations/list.txt').write_text(content)
    detector.train_dataloader.dataset.update(type='XMLDataset', ann_file='annotations/list.txt')
    data.check(detector, 'train')
    (folder / 'annotations/list.txt').unlink()
    with pytest.raises(data.DataError, match='looked for'):
        data.check(detector, 'train')


def test_a_test_set_for_a_server_has_no_annotations(detector, folder):
    edit(folder / 'annotations/instances_val.json', lambda c: c.pop('annotations'))
    detector.test_dataloader.dataset.update(
        data_root=str(folder), ann_file='annotations/instances_val.json', data_prefix=dict(img='images/validation/')
    )
    detector.test_evaluator = dict(type='CocoMetric', format_only=True, outfile_prefix='x')
    data.check(detector, 'test')
