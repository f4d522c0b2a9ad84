"""`mmvssm train` with all that people expect of a training: one detector, as a user trains it, and what it leaves."""

import json

import pytest
import torch

from mmvssm.commands import main
from mmvssm.openmmlab import runs
from tests.openmmlab import small
from tests.openmmlab.test_loggers import events

OPTIONS = ['--ema', '0.1', '--early-stopping', '1', '--accumulate', '2', '--log', 'tensorboard']


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A run that learns nothing, and so ends after its second validation."""
    folder = tmp_path_factory.mktemp('trained')
    config = small.write(folder, train=4, val=1, epochs=5)
    still = ['--cfg-options', 'optim_wrapper.optimizer.lr=0', 'val_evaluator.metric=bbox']
    main(['train', str(config), '--work-dir', str(folder / 'run'), *OPTIONS, *still])
    return folder / 'run'


def test_it_ends_early_and_keeps_the_best(trained):
    run = runs.read(trained)
    assert (run.state, run.epoch, run.length) == ('ended early', 2, 5)
    assert {path.name for path in trained.glob('*.pth')} >= {'best_coco_bbox_mAP_epoch_1.pth', 'epoch_2.pth'}


def test_averaged_weights_are_saved(trained):
    saved = torch.load(trained / 'best_coco_bbox_mAP_epoch_1.pth', weights_only=False)
    assert saved['ema_state_dict']['steps'] == 2
    assert {f'module.{name}' for name in saved['state_dict']} | {'steps'} == set(saved['ema_state_dict'])


def test_gradients_are_gathered(trained):
    (log,) = trained.glob('*/*.log')
    assert '1 process x 2 images x 2 accumulated = batch 4' in log.read_text()


def test_tensorboard_has_what_mmengine_s_record_has(trained):
    (record,) = trained.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in record.open()]
    found = events(trained)
    assert found.Tags()['tensors'] == ['config/text_summary']
    for name in ('loss', 'lr', 'coco/bbox_mAP'):
        wanted = [(line['step'], pytest.approx(line[name])) for line in lines if name in line]
        assert [(event.step, event.value) for event in found.Scalars(name)] == wanted


def test_the_best_is_loaded_whole_and_without_a_word(trained, capsys):
    main(['test', str(trained / 'config.py'), str(trained / 'best_coco_bbox_mAP_epoch_1.pth')])
    assert 'coco/bbox_mAP' in capsys.readouterr().out
    events(trained)  # of one run still


def test_scaling_and_gathering_do_not_go_together(trained):
    with pytest.raises(SystemExit, match='--auto-scale-lr counts the images that are seen at once'):
        main(['train', str(trained / 'config.py'), '--auto-scale-lr', '--accumulate', '2'])
