"""`mmvssm train` and `mmvssm test`, through their doors in tools/: one pair for both tasks, errors in a line or two."""

import pickle
import runpy
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from mmvssm.demo import shapes

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs'
SMALL = """
_base_ = ['{base}']
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(batch_size=1, num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
train_cfg = dict({length})
default_hooks = dict(checkpoint=dict(interval=1), logger=dict(interval=1))
"""


@pytest.fixture(scope='session')
def demo(tmp_path_factory):
    return shapes.write(tmp_path_factory.mktemp('demo'), train=4, val=2)


@pytest.fixture(scope='module')
def trained(demo, tmp_path_factory):
    """task -> (config, work folder) of a run of two iterations."""
    folder = tmp_path_factory.mktemp('trained')
    runs = {}
    for task, length in (('mask_rcnn', 'max_epochs=1, val_interval=5'), ('upernet', 'max_iters=2, val_interval=2')):
        config = folder / f'{task}.py'
        config.write_text(SMALL.format(base=CONFIGS / f'demo/{task}_localvmamba_demo.py', length=length))
        call('train', config, '--data', demo, '--work-dir', folder / task)
        runs[task] = config, folder / task
    return runs


def call(tool, *arguments):
    """Runs a tool in this process, as its command line would."""
    before = sys.argv
    sys.argv = [f'{tool}.py', *map(str, arguments)]
    try:
        runpy.run_path(str(ROOT / f'tools/{tool}.py'), run_name='__main__')
    finally:
        sys.argv = before


def failure(tool, *arguments) -> str:
    with pytest.raises(SystemExit) as caught:
        call(tool, *arguments)
    assert isinstance(caught.value.code, str), 'ended without a message'
    return caught.value.code


def checkpoint(work_dir):
    return work_dir / (work_dir / 'last_checkpoint').read_text().split('/')[-1]


@pytest.mark.parametrize('task', ['mask_rcnn', 'upernet'])
def test_training_leaves_checkpoint_and_contact_sheet(task, trained):
    _, work_dir = trained[task]
    assert checkpoint(work_dir).is_file()
    assert Image.open(work_dir / 'contact_sheet.png').width > 256


def test_a_run_has_its_own_visualizer_whatever_ran_before(trained, demo, tmp_path):
    from mmengine.visualization import Visualizer

    Visualizer.get_instance('of a run without a task')
    config, work_dir = trained['mask_rcnn']
    given = '--data', demo, '--work-dir', tmp_path / 'w', '--show-dir', tmp_path / 's'
    call('test', config, checkpoint(work_dir), *given)
    assert [path for path in (tmp_path / 's').rglob('*') if path.is_file()]


@pytest.mark.parametrize('task', ['mask_rcnn', 'upernet'])
def test_testing_scores_paints_and_keeps(task, trained, demo, tmp_path):
    config, work_dir = trained[task]
    out = tmp_path / ('found.pkl' if task == 'mask_rcnn' else 'found')
    call(
        'test',
        config,
        checkpoint(work_dir),
        '--data',
        demo,
        '--work-dir',
        tmp_path / 'w',
        '--out',
        out,
        '--show-dir',
        tmp_path / 's',
    )
    if task == 'mask_rcnn':
        assert len(pickle.loads(out.read_bytes())) == 2
    else:
        assert len(list(out.glob('*.png'))) == 2
    assert len(list((tmp_path / 's').rglob('*.[jp][pn]g'))) == 2


@pytest.mark.parametrize('task', ['mask_rcnn', 'upernet'])
def test_test_time_augmentation(task, trained, demo, tmp_path, capfd):
    config, work_dir = trained[task]
    call('test', config, checkpoint(work_dir), '--data', demo, '--work-dir', tmp_path, '--tta')
    assert ('coco/segm_mAP' if task == 'mask_rcnn' else 'mIoU') in capfd.readouterr().out


def test_soft_nms_by_an_option(trained, demo, tmp_path, capfd):
    config, work_dir = trained['mask_rcnn']
    nms = [f'model.test_cfg.rcnn.nms.{one}' for one in ('type=soft_nms', 'method=gaussian', 'sigma=0.4')]
    given = '--data', demo, '--work-dir', tmp_path, '--classwise', '--cfg-options', *nms
    call('test', config, checkpoint(work_dir), *given)
    table, _, scores = capfd.readouterr().out.partition('| category | mAP')[2].rpartition('coco/segm_mAP')
    assert all(f'| {name}' in table for name in ('disc', 'triangle', 'star', 'ring'))
    assert scores


def test_a_segmentor_is_not_evaluated_by_coco(demo, tmp_path):
    config = CONFIGS / 'demo/upernet_localvmamba_demo.py'
    message = failure('test', config, 'a.pth', '--data', demo, '--work-dir', tmp_path, '--coco-eval', 'faster')
    assert message == 'error: --coco-eval: this config is evaluated by IoUMetric, not by CocoMetric'


def test_diagonal_flips_of_a_segmentor(trained, demo, tmp_path):
    config, work_dir = trained['upernet']
    views = dict(type='TestTimeAug', transforms=[[dict(type='RandomFlip', prob=1.0, direction='diagonal')]])
    own = tmp_path / 'c.py'
    own.write_text(f"_base_ = ['{config}']\ntta_pipeline = [dict(type='LoadImageFromFile'), {views}]\n")
    message = failure('test', own, checkpoint(work_dir), '--data', demo, '--work-dir', tmp_path, '--tta')
    assert 'horizontal and vertical flips only' in message


def test_training_goes_on_where_it_stopped(trained, demo, capfd):
    config, work_dir = trained['mask_rcnn']
    call('train', config, '--data', demo, '--work-dir', work_dir, '--resume', '--cfg-options', 'train_cfg.max_epochs=2')
    assert (work_dir / 'epoch_2.pth').is_file()
    assert 'resumed epoch: 1' in capfd.readouterr().out


def test_fine_tuning_keeps_the_backbone_and_drops_heads_of_other_classes(trained, demo, tmp_path, capfd):
    config, work_dir = trained['mask_rcnn']
    path = tmp_path / 'other_classes.pth'
    state = torch.load(checkpoint(work_dir), weights_only=False)['state_dict']
    state['roi_head.bbox_head.fc_cls.weight'] = torch.zeros(81, 256)
    torch.save({'state_dict': state}, path)
    call('train', config, '--data', demo, '--work-dir', tmp_path / 'w', '--cfg-options', f'load_from={path}')
    assert 'kept fresh' in capfd.readouterr().out


class Evil:
    def __reduce__(self):
        return exec, ('raise SystemExit("ran")',)


def spoil(state, what, path):
    """A checkpoint file with something wrong."""
    if what == 'cut off':
        torch.save({'state_dict': state}, path)
        path.write_bytes(path.read_bytes()[:5000])
    elif what == 'runs code':
        torch.save({'state_dict': state, 'extra': Evil()}, path, pickle_protocol=2)
    elif what == 'another family':
        import mmvssm

        torch.save({'model': mmvssm.create_model('test_vmamba').state_dict()}, path)
    elif what == 'a picture':
        Image.new('RGB', (8, 8)).save(path, format='png')
    elif what == 'no weights':
        torch.save({'meta': {'epoch': 3}}, path)
    return path


CHECKPOINTS = {
    'missing': 'there is no checkpoint file',
    'cut off': 'cut off|damaged|truncated',
    'runs code': 'code|unsafe',
    'another family': 'does not fit',
    'a picture': 'is a picture',
    'no weights': 'no weights',
}


@pytest.mark.parametrize('what', CHECKPOINTS)
def test_bad_checkpoint(what, trained, demo, tmp_path):
    config, work_dir = trained['mask_rcnn']
    state = torch.load(checkpoint(work_dir), weights_only=False)['state_dict']
    path = spoil(state, what, tmp_path / 'bad.pth')
    message = failure('test', config, path, '--data', demo, '--work-dir', tmp_path)
    assert len(message.splitlines()) <= 2
    import re

    assert re.search(CHECKPOINTS[what], message), message


BACKBONE = 'model.backbone'
OPTIONS = {
    'arch': ([f'{BACKBONE}.arch=tinyy'], "arch='tinyy' is not supported; allowed: tiny, small"),
    'out_indices': ([f'{BACKBONE}.out_indices="(0,9)"'], 'holds 9; allowed: 0 to 3'),
    'keyword': ([f'{BACKBONE}.depht=3'], "unknown field 'depht'; allowed: arch"),
    'weights': ([f'{BACKBONE}.pretrained=nowhere.pth'], 'there is no checkpoint file'),
    'type': ([f'{BACKBONE}.type=mmvssm.Mambo'], 'mmvssm.Mambo is not in'),
}


@pytest.mark.parametrize('field', OPTIONS)
def test_bad_setting(field, demo, tmp_path):
    options, expected = OPTIONS[field]
    config = CONFIGS / 'demo/mask_rcnn_localvmamba_demo.py'
    message = failure('train', config, '--data', demo, '--work-dir', tmp_path, '--cfg-options', *options)
    assert expected in message
    assert len(message.splitlines()) <= 2


def test_a_work_folder_that_is_a_file_is_told_before_data_are_read(tmp_path):
    (tmp_path / 'file').write_text('')
    said = failure('train', CONFIGS / 'demo/upernet_localvmamba_demo.py', '--work-dir', tmp_path / 'file')
    assert said == f'error: --work-dir {tmp_path}/file is a file, where a folder is wanted'


def test_missing_config():
    assert failure('train', 'nowhere.py').startswith('error: there is no config nowhere.py\n')


def test_mistyped_config_name():
    assert 'did you mean mask_rcnn_vmamba_t' in failure('train', 'mask_rcnn_vmmba_t')


def test_missing_data_set(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    message = failure('train', CONFIGS / 'upernet_vmamba_t.py')
    assert 'looked for' in message
    assert '--data demo' in message


def test_broken_annotations(demo, tmp_path):
    (tmp_path / 'annotations').mkdir()
    for split in ('train', 'val'):
        (tmp_path / f'annotations/instances_{split}.json').write_text('{"images": [')
    message = failure('train', CONFIGS / 'mask_rcnn_vmamba_t.py', '--data', tmp_path)
    assert 'instances_train.json is not a readable JSON file' in message
    assert len(message.splitlines()) == 1


def test_out_of_a_detector_is_a_pickle(demo, tmp_path):
    config = CONFIGS / 'demo/mask_rcnn_localvmamba_demo.py'
    assert 'must end with .pkl' in failure(
        'test', config, 'a.pth', '--data', demo, '--work-dir', tmp_path, '--out', 'folder'
    )


def test_scaling_the_rate_needs_the_base_batch_size(demo, tmp_path):
    config = tmp_path / 'c.py'
    config.write_text(f"_base_ = ['{CONFIGS}/demo/upernet_localvmamba_demo.py']\nauto_scale_lr = dict(_delete_=True)\n")
    assert 'base_batch_size' in failure('train', config, '--data', demo, '--work-dir', tmp_path, '--auto-scale-lr')
