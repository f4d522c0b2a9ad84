"""mmdet's and mmseg's own tools on the configs of this project, each in a process of its own as a user starts it."""

import importlib.util
import json
import os
import pickle
import shutil
import subprocess
import sys
import urllib.error
import urllib.request

import mmseg
import pytest
import torch
from mmengine.utils import digit_version
from PIL import Image

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


@pytest.fixture
def inside(folder, monkeypatch, capsys):
    """Runs a tool in this process, in a data set's folder; returns what it printed."""
    import matplotlib.pyplot as plt
    from mmengine.registry import DefaultScope
    from mmengine.visualization import Visualizer

    from mmvssm.openmmlab import running

    plt.switch_backend('agg')
    monkeypatch.setattr(sys, 'argv', sys.argv)
    monkeypatch.setattr(sys, 'path', [*sys.path])

    def run(*arguments: str, at=folder) -> str:
        monkeypatch.chdir(at)
        running._forget_visualizers(Visualizer)
        with DefaultScope.overwrite_default_scope(None):
            upstream_tools.run(arguments[0], list(arguments[1:]))
        return ''.join(capsys.readouterr())

    yield run
    plt.close('all')


@pytest.fixture(scope='module')
def segments(tmp_path_factory):
    """A segmentor's config, its data, and predictions that are right: config.py, found/*.png."""
    from mmvssm import configs
    from mmvssm.demo import shapes

    folder = tmp_path_factory.mktemp('segments')
    data = shapes.write(folder / 'data', train=2, val=2)
    (folder / 'config.py').write_text(SEGMENTOR.format(base=configs.FOLDER, data=data))
    shutil.copytree(data / 'annotations/validation', folder / 'found')
    return folder


SEGMENTOR = """
_base_ = ['{base}/demo/upernet_localvmamba_demo.py']
data_root = '{data}'
model = dict(
    backbone=dict(_delete_=True, type='mmvssm.VMamba', arch='test_vmamba', out_indices=(0, 1, 2, 3)),
    decode_head=dict(in_channels=[16, 24, 32, 40], channels=16),
    auxiliary_head=dict(in_channels=32, channels=16),
)
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root=data_root))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
"""
LOG = (
    dict(epoch=1, step=1, loss_cls=2.0, lr=0.1, time=0.5),
    dict(epoch=2, step=2, loss_cls=1.0, lr=0.1, time=0.5),
)


@pytest.fixture
def log(folder):
    (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, LOG)))
    return 'scalars.json'


def test_analyze_logs(inside, folder, log):
    inside('mmdet/analyze_logs', 'plot_curve', log, '--keys', 'loss_cls', '--out', 'curve.png')
    assert Image.open(folder / 'curve.png').width > 100
    assert 'average iter time: 0.5' in inside('mmdet/analyze_logs', 'cal_train_time', log)


def test_analyze_logs_of_a_score_that_is_not_there(inside, log):
    with pytest.raises(UsageError, match='scores are coco/bbox_mAP'):
        inside('mmdet/analyze_logs', 'plot_curve', log, '--keys', 'bbox_mAP')


@pytest.fixture(scope='module')
def boxes(folder) -> str:
    """The right predictions as COCO's list of results."""
    found = []
    for image in pickle.loads((folder / 'found.pkl').read_bytes()):
        instances = image['pred_instances']
        for (left, top, right, bottom), label in zip(instances['bboxes'].tolist(), instances['labels'].tolist()):
            box = [left, top, right - left, bottom - top]
            found.append(dict(image_id=image['img_id'], category_id=label + 1, bbox=box, score=0.9))
    (folder / 'boxes.json').write_text(json.dumps(found))
    return 'boxes.json'


ANNOTATIONS = 'data/annotations/instances_val.json'


@pytest.mark.slow
def test_coco_error_analysis(inside, folder, boxes):
    inside('coco_error_analysis', boxes, 'errors', '--ann', ANNOTATIONS, '--types', 'bbox')
    assert Image.open(folder / 'errors/bbox/bbox-allclass-allarea.png').width > 100


@pytest.mark.parametrize('task', ['dataset', 'dataloader'])
def test_benchmark(task, inside):
    given = ('--task', task, '--dataset-type', 'val', '--work-dir', '.', '--repeat-num', '1', '--max-iter')
    with pytest.raises(UsageError, match='from the sixth iteration on'):
        inside('mmdet/benchmark', 'config.py', *given, '2')


REFUSED = {
    'test_robustness': (('config.py', 'x.pth'), 'scores in the form of mmdet 2'),
    'fuse_results': (('a.json', 'b.json'), 'would take widths and heights .* for corners'),
    'robustness_eval': (('x.pkl',), 'scores in the form of mmdet 2'),
    'optimize_anchors': (('config.py', '--algorithm', 'k-means'), "YOLOv3's and SSD's heads.*this config has others"),
    'mmdet/benchmark': (('config.py',), 'needs psutil, which is not installed: pip install psutil'),
    'mmseg/analyze_logs': (('x.json',), 'needs seaborn, which is not installed: pip install seaborn'),
    'visualization_cam': (('x', 'y', 'z'), 'needs pytorch_grad_cam.*: pip install grad-cam'),
}


@pytest.mark.parametrize('name', REFUSED)
def test_what_does_not_run_says_why(name, inside, monkeypatch):
    arguments, reason = REFUSED[name]
    for package in ('psutil', 'seaborn', 'pytorch_grad_cam'):
        monkeypatch.setitem(sys.modules, package, None)
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda n, *rest: None if n == 'psutil' else real(n, *rest))
    with pytest.raises(UsageError, match=reason):
        inside(name, *arguments)


def test_what_is_of_coco_alone_says_so_without_a_network(inside, monkeypatch):
    def unreachable(*args, **kwargs):
        raise urllib.error.URLError('no network')

    monkeypatch.setattr(urllib.request, 'urlopen', unreachable)
    with pytest.raises(UsageError, match="COCO's val2017 and of no other"):
        inside('coco_occluded_separated_recall', 'found.pkl', '--out', 'x.pkl', '--ann', ANNOTATIONS)


def test_browse_dataset_of_a_segmentor(inside, segments):
    if digit_version(mmseg.__version__) < digit_version('1.3'):
        with pytest.raises(UsageError, match='mmvssm draw samples'):
            inside('mmseg/browse_dataset', 'config.py', '--not-show', '--output-dir', 'samples', at=segments)
        return
    inside('mmseg/browse_dataset', 'config.py', '--not-show', '--output-dir', 'samples', at=segments)
    assert len(list((segments / 'samples').iterdir())) == 2


def test_confusion_matrix_of_a_segmentor_with_classes_of_its_own(inside, segments):
    inside('mmseg/confusion_matrix', 'config.py', 'found', 'matrix', at=segments)
    assert Image.open(segments / 'matrix/confusion_matrix.png').width > 100


@pytest.mark.slow
def test_get_flops_of_a_segmentor(inside, segments):
    assert 'Input shape: (96, 128)' in inside('mmseg/get_flops', 'config.py', '--shape', '96', '128', at=segments)


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
