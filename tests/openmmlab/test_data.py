import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmvssm.demo import shapes
from mmvssm.openmmlab import data
from mmvssm.openmmlab.layouts.ade20k import ADE20K
from mmvssm.openmmlab.layouts.coco import COCO
from mmvssm.openmmlab.tasks import DETECTION

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    return shapes.write(tmp_path_factory.mktemp('demo'), train=3, val=2)


@pytest.fixture
def folder(demo, tmp_path):
    """A copy of the data set to spoil."""
    return Path(shutil.copytree(demo, tmp_path / 'data'))


@pytest.fixture
def detector():
    return Config.fromfile(CONFIGS / 'mask_rcnn_vmamba_t.py')


@pytest.fixture
def segmentor():
    return Config.fromfile(CONFIGS / 'upernet_vmamba_t.py')


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def built(cfg, split):
    from mmengine.registry import DATASETS, DefaultScope

    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return DATASETS.build(cfg[f'{split}_dataloader'].dataset)


def test_detector_reads_the_embedded_set(detector, demo):
    data.point_to(detector, str(demo))
    data.check(detector, 'train')
    train = built(detector, 'train')
    assert train.metainfo['classes'] == shapes.CLASSES
    sample = train[0]['data_samples']
    assert len(sample.gt_instances.masks) == len(sample.gt_instances.labels) > 0
    assert detector.model.roi_head.bbox_head.num_classes == detector.model.roi_head.mask_head.num_classes == 4
    assert detector.test_evaluator.ann_file == str(demo / 'annotations/instances_val.json')


def test_segmentor_reads_the_embedded_set(segmentor, demo):
    data.point_to(segmentor, str(demo))
    data.check(segmentor, 'val')
    val = built(segmentor, 'val')
    assert val.metainfo['classes'] == ('background', *shapes.CLASSES)
    stored = np.asarray(Image.open(demo / 'annotations/validation/00000.png'))
    assert (val[0]['data_samples'].gt_sem_seg.data.squeeze(0).numpy() == stored - 1).all()
    heads = (segmentor.model.decode_head, segmentor.model.auxiliary_head)
    assert [head.num_classes for head in heads] == [5, 5]


def test_coco_at_its_usual_names(detector, folder):
    for old, new in (('train', 'train2017'), ('val', 'val2017')):
        (folder / f'annotations/instances_{old}.json').rename(folder / f'annotations/instances_{new}.json')
    (folder / 'images/training').rename(folder / 'train2017')
    (folder / 'images/validation').rename(folder / 'val2017')
    data.point_to(detector, str(folder))
    dataset = detector.train_dataloader.dataset
    assert (dataset.ann_file, dataset.data_prefix.img) == ('annotations/instances_train2017.json', 'train2017/')


def test_the_80_categories_keep_cocos_own_description(detector, folder):
    from mmdet.datasets import CocoDataset

    names = [{'id': i, 'name': name} for i, name in enumerate(CocoDataset.METAINFO['classes'])]
    for split in ('train', 'val'):
        edit(folder / f'annotations/instances_{split}.json', lambda content: content.update(categories=names))
    data.point_to(detector, str(folder))
    assert 'metainfo' not in detector.train_dataloader.dataset
    assert detector.model.roi_head.bbox_head.num_classes == 80


def test_classes_from_zero_with_255_ignored(segmentor, folder):
    """CamVid's convention."""
    (folder / 'classes.json').write_text(json.dumps({'classes': ['sky', *'abcdef'], 'ignore': 255}))
    data.point_to(segmentor, str(folder))
    data.check(segmentor, 'train')
    dataset = segmentor.train_dataloader.dataset
    assert dataset.reduce_zero_label is False
    assert segmentor.model.decode_head.num_classes == 7


def test_real_ade20k_keeps_its_own_description(segmentor, folder):
    """The published archive has no classes.json."""
    (folder / 'classes.json').unlink()
    data.point_to(segmentor, str(folder))
    data.check(segmentor, 'train')
    assert segmentor.train_dataloader.dataset.type == 'ADE20KDataset'
    assert segmentor.model.decode_head.num_classes == 150


def test_data_sets_inside_wrappers_are_found(detector, demo):
    inner = detector.train_dataloader.dataset
    detector.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=inner)
    data.point_to(detector, str(demo))
    assert detector.train_dataloader.dataset.dataset.data_root == f'{demo}/'


@pytest.mark.parametrize('name', ['mask_rcnn_localvmamba_t', 'upernet_vmamba_t'])
def test_missing_data_set_says_where_how_and_what_instead(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(data.DataError, match=r'(?s)looked for .*/data/(coco|ade).*https?://.*--data demo') as caught:
        data.check(Config.fromfile(CONFIGS / f'{name}.py'), 'train')
    assert len(str(caught.value).splitlines()) == 3


def test_an_empty_image_folder_is_a_missing_data_set(detector, folder):
    data.point_to(detector, str(folder))
    shutil.rmtree(folder / 'images/training')
    (folder / 'images/training').mkdir()
    with pytest.raises(data.DataError, match=r'looked for .*images/training'):
        data.check(detector, 'train')


def cut(path):
    path.write_text(path.read_text()[:200])


SPOILED = {
    'cut off': (cut, 'is not a readable JSON file'),
    'no JSON': (lambda path: path.write_bytes(b'\x80\x04'), 'is not a readable JSON file'),
    'no list': (lambda path: edit(path, lambda c: c.pop('annotations')), "it has no list 'annotations'"),
    'other JSON': (lambda path: path.write_text('[1, 2]'), "it has no list 'images'"),
    'no box': (lambda path: edit(path, lambda c: c['annotations'][1].pop('bbox')), "number 1 has no 'bbox'"),
    'short box': (lambda path: edit(path, lambda c: c['annotations'][0].update(bbox=[1, 2])), 'has not four numbers'),
    'unknown image': (lambda path: edit(path, lambda c: c['annotations'][0].update(image_id=77)), 'is of image 77'),
    'unknown category': (lambda path: edit(path, lambda c: c['annotations'][0].update(category_id=9)), 'of category 9'),
    'other categories': (lambda path: edit(path, lambda c: c['categories'].pop()), 'have different categories'),
    'wrong file name': (lambda path: edit(path, lambda c: c['images'][0].update(file_name='a.jpg')), 'a.jpg, named by'),
    'no images': (lambda path: edit(path, lambda c: c.update(images=[], annotations=[])), 'lists no images'),
}


@pytest.mark.parametrize('what', SPOILED)
def test_broken_annotation_file(what, detector, folder):
    spoil, message = SPOILED[what]
    spoil(folder / 'annotations/instances_train.json')

    def use():
        data.point_to(detector, str(folder))
        data.check(detector, 'train')

    with pytest.raises(data.DataError, match=message) as caught:
        use()
    assert len(str(caught.value).splitlines()) == 1


BROKEN_SEGMENTATION = {
    'label too high': (
        lambda root: Image.fromarray(np.full((128, 128), 9, np.uint8)).save(root / 'annotations/training/00000.png'),
        'holds the label 9; allowed: 0 to 5 and 255',
    ),
    'label image cut off': (
        lambda root: (root / 'annotations/training/00000.png').write_bytes(b'\x89PNG\r\n'),
        'is not a readable label image',
    ),
    'gap in the classes': (
        lambda root: (root / 'classes.json').write_text('{"1": "a", "3": "b"}'),
        'without a gap',
    ),
    'classes cut off': (lambda root: (root / 'classes.json').write_text('{"1": '), 'is not a readable JSON file'),
    'no labels': (lambda root: shutil.rmtree(root / 'annotations/validation'), 'no folder annotations/validation'),
    'two suffixes': (lambda root: (root / 'images/training/b.png').touch(), 'must hold images of one suffix'),
}


@pytest.mark.parametrize('what', BROKEN_SEGMENTATION)
def test_broken_segmentation_set(what, segmentor, folder):
    spoil, message = BROKEN_SEGMENTATION[what]
    spoil(folder)

    def use():
        data.point_to(segmentor, str(folder))
        data.check(segmentor, 'train')

    with pytest.raises(data.DataError, match=message) as caught:
        use()
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_that_is_not_there(detector):
    with pytest.raises(data.DataError, match='/nowhere is not a folder'):
        data.point_to(detector, '/nowhere')


def test_a_folder_of_something_else(detector, tmp_path):
    with pytest.raises(data.DataError, match=r'(?s)it holds nothing\nwanted: annotations/instances_train\.json'):
        data.point_to(detector, str(tmp_path))


@pytest.mark.parametrize(('layout', 'other'), [(COCO, ADE20K), (ADE20K, COCO)], ids=['coco', 'ade20k'])
def test_a_layout_recognises_its_own_folder(layout, other, tmp_path):
    own = {COCO: 'annotations', ADE20K: 'images'}
    (tmp_path / own[layout]).mkdir()
    assert layout.find(tmp_path) == tmp_path
    assert other.find(tmp_path) is None


def test_a_task_takes_the_first_layout_that_recognises_a_folder(detector, tmp_path, monkeypatch):
    asked = []
    flat = dataclasses.replace(COCO, find=lambda root: root, point_to=lambda cfg, root: asked.append(root))
    monkeypatch.setattr(data, 'task_of', lambda cfg: dataclasses.replace(DETECTION, layouts=(flat, COCO)))
    data.point_to(detector, str(tmp_path))
    assert asked == [tmp_path]
