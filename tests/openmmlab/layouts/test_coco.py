"""COCO annotations as people have them: by split, or one file and a seeded split."""

import json
import shutil
from pathlib import Path

import pytest
from mmengine.config import Config

from mmvssm.commands import main
from mmvssm.demo import shapes
from mmvssm.openmmlab import data, preflight
from tests.openmmlab import data_sets
from tests.openmmlab.test_data import CONFIGS, built


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    return shapes.write(tmp_path_factory.mktemp('demo'), train=5, val=2)


@pytest.fixture
def detector(tmp_path):
    cfg = Config.fromfile(CONFIGS / 'mask_rcnn_vmamba_t.py')
    cfg.work_dir = str(tmp_path / 'run')
    return cfg


def roboflow(demo, root):
    for split, folder, name in (('train', 'training', 'train'), ('val', 'validation', 'valid')):
        shutil.copytree(demo / f'images/{folder}', root / name)
        shutil.copy(demo / f'annotations/instances_{split}.json', root / name / '_annotations.coco.json')


def two_files_at_the_top(demo, root):
    shutil.copytree(demo / 'images', root / 'images')
    for split in ('train', 'val'):
        shutil.copy(demo / f'annotations/instances_{split}.json', root / f'{split}.json')


@pytest.mark.parametrize('layout', [roboflow, two_files_at_the_top])
def test_a_layout_with_a_split(layout, demo, detector, tmp_path):
    layout(demo, tmp_path / 'd')
    data.point_to(detector, str(tmp_path / 'd'))
    data.check(detector, 'val')
    assert len(built(detector, 'train')) == 5


def cvat(demo, root):
    shutil.copytree(demo / 'images/training', root / 'images/default')
    (root / 'annotations').mkdir()
    shutil.copy(demo / 'annotations/instances_train.json', root / 'annotations/instances_default.json')


def beside_images(demo, root):
    shutil.copytree(demo / 'images/training', root / 'images')
    shutil.copy(demo / 'annotations/instances_train.json', root / 'annotations.json')


def among_images(demo, root):
    shutil.copytree(demo / 'images/training', root)
    shutil.copy(demo / 'annotations/instances_train.json', root / 'result.json')


ONE_FILE = [cvat, beside_images, among_images]


@pytest.mark.parametrize('layout', ONE_FILE)
def test_one_file_is_offered_a_split(layout, demo, detector, tmp_path):
    layout(demo, tmp_path / 'd')
    with pytest.raises(data.DataError, match=r'one annotation file for all images.*\n`--val-fraction 0\.2`'):
        data.point_to(detector, str(tmp_path / 'd'))


@pytest.mark.parametrize('layout', ONE_FILE)
def test_one_file_is_split_the_same_each_time(layout, demo, detector, tmp_path):
    layout(demo, tmp_path / 'd')
    held_out = []
    for run in ('first', 'second', 'second'):
        root = data.split(str(tmp_path / 'd'), 0.4, tmp_path / run)
        data.point_to(detector, root)
        data.check(detector, 'train')
        content = json.loads(Path(root, 'annotations/instances_val.json').read_text())
        held_out.append([one['file_name'] for one in content['images']])
    assert held_out[0] == held_out[1] == held_out[2]
    assert len(held_out[0]) == 2
    assert len(built(detector, 'train')) == 3


@pytest.mark.parametrize('command', ['train', 'search'])
def test_the_command_splits_tells_and_ends(command, demo, tmp_path, capsys):
    cvat(demo, tmp_path / 'd')
    flags = ['--data', str(tmp_path / 'd'), '--val-fraction', '0.2', '--check-data', '--work-dir', str(tmp_path / 'w')]
    main([command, 'demo/mask_rcnn_localvmamba_demo', *flags])
    printed = capsys.readouterr().out
    assert '5 of 128 x 128' in printed
    assert '4 images to train on, 1 held out' in printed
    assert 'train: 4 images (128 x 128)' in printed
    assert not list((tmp_path / 'w').glob('*.pth'))


@pytest.mark.parametrize('command', ['train', 'search'])
def test_a_fraction_needs_a_folder(command, tmp_path):
    with pytest.raises(SystemExit, match='--val-fraction splits the data set of --data DIR'):
        main([command, 'demo/mask_rcnn_localvmamba_demo', '--val-fraction', '0.2', '--work-dir', str(tmp_path)])


def test_coco_s_own_classes_take_the_place_of_the_config_s(tmp_path):
    from mmdet.datasets import CocoDataset

    names = CocoDataset.METAINFO['classes']
    for split in ('train', 'val'):
        path = tmp_path / f'annotations/instances_{split}.json'
        data_sets.write_json(path, data_sets.instances(['a.png'], names))
        data_sets.picture(tmp_path / f'{split}/a.png')
    cfg = Config.fromfile(CONFIGS / 'demo/mask_rcnn_localvmamba_nuclei.py')
    cfg.work_dir = str(tmp_path / 'run')
    data.point_to(cfg, str(tmp_path))
    preflight.check(cfg, training=True)
    assert cfg.model.roi_head.bbox_head.num_classes == 80
    assert built(cfg, 'train').metainfo['classes'] == names
