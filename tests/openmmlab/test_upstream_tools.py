"""mmdet's and mmseg's own tools on the configs of this project, each in a process of its own as a user starts it."""

import os
import pickle
import subprocess
import sys

import pytest
import torch

from mmvssm.errors import UsageError
from mmvssm.openmmlab import upstream_tools
from tests.openmmlab import small


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A detector's config, its data, and predictions that are right: config.py, found.pkl."""
    from pycocotools.coco import COCO

    folder = tmp_path_factory.mktemp('tools')
    small.write(folder, train=2, val=2)
    data = folder / 'data'
    coco = COCO(data / 'annotations/instances_val.json')
    found = []
    for image in coco.loadImgs(coco.getImgIds()):
        objects = coco.loadAnns(coco.getAnnIds(image['id']))
        boxes = torch.tensor([o['bbox'] for o in objects])
        boxes[:, 2:] += boxes[:, :2]
        labels = torch.tensor([coco.getCatIds().index(o['category_id']) for o in objects])
        masks = [coco.annToRLE(o) for o in objects]
        instances = dict(bboxes=boxes, labels=labels, scores=torch.ones(len(objects)), masks=masks)
        size = image['height'], image['width']
        path = str(data / 'images/validation' / image['file_name'])
        found.append(dict(img_id=image['id'], img_path=path, ori_shape=size, img_shape=size, pred_instances=instances))
    (folder / 'found.pkl').write_bytes(pickle.dumps(found))
    return folder


def ran(folder, *arguments: str) -> str:
    command = [sys.executable, '-m', 'mmvssm.commands', 'tool', *arguments]
    environment = dict(os.environ, MPLBACKEND='agg')
    run = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=300)
    assert run.returncode == 0, run.stderr
    return run.stdout + run.stderr


def test_browse_dataset(folder):
    ran(folder, 'browse_dataset', 'config.py', '--not-show', '--output-dir', 'samples')
    assert len(list((folder / 'samples').iterdir())) == 2


def test_confusion_matrix(folder):
    ran(folder, 'confusion_matrix', 'config.py', 'found.pkl', 'matrix')
    assert (folder / 'matrix/confusion_matrix.png').is_file()


@pytest.mark.slow
def test_analyze_results(folder):
    ran(folder, 'mmdet/analyze_results', 'config.py', 'found.pkl', 'analysed', '--topk', '1')
    assert len(list((folder / 'analysed/good').iterdir())) == 1


@pytest.mark.slow
def test_eval_metric(folder):
    assert "'coco/segm_mAP': 1.0" in ran(folder, 'eval_metric', 'config.py', 'found.pkl')


@pytest.mark.slow
def test_get_flops(folder):
    assert 'Input shape: (128, 128)' in ran(folder, 'get_flops', 'config.py')


@pytest.mark.slow
def test_a_config_by_name(tmp_path):
    assert "type='mmvssm.VMamba'" in ran(tmp_path, 'print_config', 'upernet_vmamba_t')


@pytest.mark.parametrize(
    ('name', 'place'),
    [
        ('confusion_matrix', 'mmdet/.mim/tools/analysis_tools/confusion_matrix.py'),
        ('mmseg/confusion_matrix', 'mmseg/.mim/tools/analysis_tools/confusion_matrix.py'),
        ('mmseg/misc/print_config.py', 'mmseg/.mim/tools/misc/print_config.py'),
        ('train', 'mmdet/.mim/tools/train.py'),
    ],
)
def test_where_a_tool_is(name, place):
    assert upstream_tools.find(name).as_posix().endswith(place)


@pytest.mark.parametrize('name', ['browse_datasets', 'mmseg/analyze_results', '../../x'])
def test_an_unknown_tool(name):
    with pytest.raises(UsageError, match=f'there is no tool {name}(.|\n)*lists those that there are'):
        upstream_tools.find(name)
