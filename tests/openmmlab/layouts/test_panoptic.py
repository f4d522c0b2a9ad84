"""A panoptic config on folders with panoptic labels, without them, and with broken ones."""

import json

import numpy as np
import pytest
import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmengine.registry import METRICS
from PIL import Image

from mmvssm import configs
from mmvssm.demo import shapes
from mmvssm.openmmlab import config_files, data, preflight
from mmvssm.openmmlab.layouts.layout import DataError
from mmvssm.openmmlab.panoptic import id2rgb, rgb2id
from tests.openmmlab.test_data import built

STUFF = 200  # id of the category of the ground


@pytest.fixture(scope='module')
def instances(tmp_path_factory):
    return shapes.write(tmp_path_factory.mktemp('demo'), train=2, val=2)


@pytest.fixture
def labelled(instances, tmp_path):
    """The embedded shapes with panoptic labels: each box a segment, the ground around them stuff."""
    for folder in ('images', 'annotations'):
        (tmp_path / folder).mkdir()
    for split, images in (('train', 'training'), ('val', 'validation')):
        (tmp_path / 'images' / images).symlink_to(instances / 'images' / images)
        content = json.loads((instances / f'annotations/instances_{split}.json').read_text())
        (tmp_path / f'annotations/instances_{split}.json').write_text(json.dumps(content))
        write_panoptic(tmp_path / f'annotations/panoptic_{split}.json', content)
    return tmp_path


def write_panoptic(path, content):
    path.with_suffix('').mkdir()
    annotations = []
    for image in content['images']:
        objects = [one for one in content['annotations'] if one['image_id'] == image['id']]
        numbers = np.full((image['height'], image['width']), 70_000)
        segments = [dict(id=70_000, category_id=STUFF, bbox=[0, 0, 9, 9], iscrowd=0)]
        for number, one in enumerate(objects, 1):
            x, y, w, h = (int(value) for value in one['bbox'])
            numbers[y : y + h, x : x + w] = number
            segments.append(dict(one, id=number, iscrowd=0))
        for one in segments:
            one['area'] = int((numbers == one['id']).sum())
        name = image['file_name'].replace('.jpg', '.png')
        Image.fromarray(id2rgb(numbers)).save(path.with_suffix('') / name)
        annotations.append(
            dict(image_id=image['id'], file_name=name, segments_info=[one for one in segments if one['area']])
        )
    kinds = [*(dict(one, isthing=1) for one in content['categories']), dict(id=STUFF, name='ground', isthing=0)]
    path.write_text(json.dumps(dict(content, annotations=annotations, categories=kinds)))


@pytest.fixture
def panoptic():
    return config_files.read(configs.find('mask2former_panoptic_vmamba_t'))


def test_labels_of_things_and_stuff_are_read(labelled, panoptic):
    data.point_to(panoptic, str(labelled))
    preflight.check(panoptic, training=True)
    head = panoptic.model.panoptic_head
    assert (head.num_things_classes, head.num_stuff_classes) == (4, 1)
    assert list(head.loss_cls.class_weight) == [1.0] * 5 + [0.1]
    sample = built(panoptic, 'val')[0]['data_samples']
    assert set(np.unique(sample.gt_sem_seg.sem_seg.numpy())) <= {0, 1, 2, 3, 4}
    assert 4 in sample.gt_sem_seg.sem_seg
    assert panoptic.val_evaluator[0].seg_prefix == f'{labelled}/annotations/panoptic_val/'


def test_the_truth_has_a_quality_of_100(labelled, panoptic):
    data.point_to(panoptic, str(labelled))
    images = built(panoptic, 'val')
    metric = METRICS.build(panoptic.val_evaluator[0])
    metric.dataset_meta = images.metainfo
    for number in range(len(images)):
        info = images.get_data_info(number)
        numbers = rgb2id(np.array(Image.open(info['seg_map_path'])))
        found = np.full(numbers.shape, len(metric.dataset_meta['classes']))  # nothing
        for instance, segment in enumerate(info['segments_info'], 1):
            found[numbers == segment['id']] = segment['category'] + INSTANCE_OFFSET * instance
        sample = dict(info, ori_shape=numbers.shape, pred_panoptic_seg=dict(sem_seg=torch.tensor(found)[None]))
        metric.process({}, [sample])
    assert metric.compute_metrics(metric.results)['PQ'] == pytest.approx(100)


def test_a_folder_of_instances_gives_objects_alone(instances, panoptic, capsys):
    data.point_to(panoptic, str(instances))
    preflight.check(panoptic, training=True)
    assert 'its objects alone are learnt' in capsys.readouterr().out
    assert panoptic.model.panoptic_head.num_stuff_classes == 0
    assert panoptic.val_evaluator.type == 'CocoMetric'
    assert not panoptic.model.data_preprocessor.pad_seg
    assert not panoptic.model.data_preprocessor.batch_augments[0].pad_seg
    sample = built(panoptic, 'val')[0]['data_samples']
    assert len(sample.gt_instances.masks) == len(sample.gt_instances.labels) > 0


def spoil(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


BROKEN = {
    'labels of one split': (lambda at: (at / 'panoptic_val.json').unlink(), 'no panoptic labels for val'),
    'instances under that name': (
        lambda at: (at / 'panoptic_val.json').write_text((at / 'instances_val.json').read_text()),
        'is no file of panoptic labels',
    ),
    'a picture that is gone': (
        lambda at: [path.unlink() for path in (at / 'panoptic_train').iterdir()],
        'named by .*panoptic_train.json, is not there',
    ),
    'things in another order': (
        lambda at: spoil(at / 'panoptic_train.json', lambda content: content['categories'].reverse()),
        'other things, or in another order',
    ),
    'no things': (
        lambda at: spoil(at / 'panoptic_train.json', lambda c: [one.update(isthing=0) for one in c['categories']]),
        'no category with isthing=1',
    ),
}


@pytest.mark.parametrize('what', BROKEN)
def test_broken_labels_are_named(what, labelled, panoptic):
    change, expected = BROKEN[what]
    change(labelled / 'annotations')
    with pytest.raises(DataError, match=expected):
        data.point_to(panoptic, str(labelled))
