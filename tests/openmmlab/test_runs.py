"""What a work folder tells of its run: real ones of a toy, resumed and killed, and records written by hand."""

import json
import re

import pytest
import torch
from mmengine.evaluator import BaseMetric

import mmvssm
from mmvssm.errors import UsageError
from mmvssm.openmmlab import runs, work_folder
from mmvssm.openmmlab.hooks import start_line
from tests.openmmlab import toy

LOG = """
    PyTorch: 2.9.0
    MMEngine: 0.10.12
    seed: 7
2026/01/01 00:00:00 - mmengine - INFO - Toy, 0.2 M parameters: 4 epochs; mmvssm 0.1.0+b7c8efc-dirty; the whole log: x
"""
RESUMED = 'resumed epoch: 1, iter: 10'


class Half(BaseMetric):
    """0.5, then 0.25 and so on."""

    value = 1.0

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        self.value /= 2
        return dict(score=self.value)


def train(folder, epochs, **kwargs):
    hooks = dict(
        logger=dict(type='LoggerHook', interval=2),
        timer=dict(type='IterTimerHook'),
        checkpoint=dict(type='mmvssm.AtomicCheckpointHook', interval=1),
    )
    data = dict(dataset=[{'x': 0}], batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
    validated = dict(val_dataloader=dict(data, collate_fn=collate), val_cfg=dict(), val_evaluator=[Half()])
    # of its own name, since mmengine hands an earlier one out again
    visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')], name=f'{folder}, {epochs}')
    toy.runner(folder, hooks, epochs=epochs, visualizer=visualizer, **validated, **kwargs).train()


def collate(batch):
    return dict(x=torch.zeros(1, 4))


@pytest.fixture(scope='module')
def resumed(tmp_path_factory):
    """Two epochs of six iterations, and after a resumption two more."""
    folder = tmp_path_factory.mktemp('resumed')
    train(folder, 2)
    earlier = next(folder.glob('2*/vis_data')).parent
    earlier.rename(folder / '20200101_000000')  # both may start in one second
    train(folder, 4, resume=True)
    return folder


def test_a_resumed_run_is_one(resumed):
    run = runs.read(resumed)
    assert len(list(resumed.glob('2*/vis_data/scalars.json'))) == 2
    assert run.curves['loss'][0] == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24]
    assert (run.iteration, run.epoch) == (24, 4)
    assert run.loss == run.curves['loss'][1][-1]


def test_validations_noted_by_the_epoch_stand_at_their_iteration(resumed):
    run = runs.read(resumed)
    assert run.curves['score'][0] == [6, 12, 18, 24]
    assert (run.scores['score'].best, run.scores['score'].best_at, run.scores['score'].last_at) == (0.5, 1, 4)


def write(folder, *starts, log=LOG, config=None):
    """A work folder; a start is (lines of records, words of its log)."""
    for i, (lines, words) in enumerate(starts):
        place = folder / f'20260101_00000{i}'
        (place / 'vis_data').mkdir(parents=True)
        (place / 'vis_data/scalars.json').write_text('\n'.join(map(json.dumps, lines)) + '\n{"loss": 1, "st')
        (place / f'{place.name}.log').write_text(log + words)
        if config is not None:
            (place / 'vis_data/config.py').write_text(config)
    return folder


def training(*steps, loss=1.0, **more):
    return [dict(loss=loss / step, time=0.5, step=step, **more) for step in steps]


def test_a_later_start_replaces_what_an_earlier_one_has_from_there_on(tmp_path):
    first, second = training(10, 20, 30), training(20, loss=100.0)
    run = runs.read(write(tmp_path, (first, ''), (second, RESUMED)))
    assert run.curves['loss'] == ([10, 20], [0.1, 5.0])


def test_a_start_anew_replaces_everything(tmp_path):
    run = runs.read(write(tmp_path, (training(5, 10, 15), ''), (training(10), '')))
    assert run.curves['loss'][0] == [10]


def test_a_repeated_validation_counts_once_and_leaves_the_training_before_it(tmp_path):
    first = [*training(10, 20), dict(mIoU=40.0, step=20), *training(30)]
    second = [dict(mIoU=41.0, step=20), *training(30)]
    run = runs.read(write(tmp_path, (first, ''), (second, RESUMED)))
    assert run.curves['mIoU'] == ([20], [41.0])
    assert run.curves['loss'][0] == [10, 20, 30]


def test_the_log_tells_how_long_an_epoch_is(tmp_path):
    lines = [*training(50, epoch=1), {'coco/bbox_mAP': 0.1, 'step': 1, 'time': 9.0}]
    run = runs.read(write(tmp_path, (lines, 'Epoch(train)  [1][ 50/73]  lr')))
    assert run.curves['coco/bbox_mAP'] == ([73], [0.1])
    assert run.seconds == 0.5


def test_the_log_tells_seed_versions_and_parameters(tmp_path):
    run = runs.read(write(tmp_path, (training(10, memory=1234), '')))
    assert (run.seed, run.parameters, run.memory) == (7, 0.2, 1234)
    assert run.versions == {'PyTorch': '2.9.0', 'MMEngine': '0.10.12', 'mmvssm': '0.1.0+b7c8efc-dirty'}


def test_a_clone_tells_its_commit(monkeypatch, tmp_path):
    assert re.fullmatch(r'[\d.]+(\+[0-9a-f]{7,}(-dirty)?)?', start_line.version())
    monkeypatch.setattr(start_line, 'ROOT', tmp_path)
    assert start_line.version() == mmvssm.__version__


def test_the_best_is_the_least_of_a_loss_and_never_nan(tmp_path):
    lines = [*training(10), dict(val_loss=3.0, mIoU=float('nan'), step=10), dict(val_loss=4.0, mIoU=2.0, step=20)]
    scores = runs.read(write(tmp_path, (lines, ''))).scores
    assert (scores['val_loss'].best, scores['mIoU'].best) == (3.0, 2.0)


CONFIG = 'train_cfg = dict(max_iters=30)\nwork_dir = "x"\nhelper = 1\n'
STATES = {
    'done': (training(10, 30), '', 'done'),
    'stopped': (training(10, 20), '', 'stopped'),
    'early': (training(10, 20), 'the monitored metric did not improve in the last 3 records', 'ended early'),
}


@pytest.mark.parametrize('what', STATES)
def test_state(what, tmp_path):
    lines, log, state = STATES[what]
    assert runs.read(write(tmp_path, (lines, log), config=CONFIG)).state == state


def test_a_run_that_trains_still(tmp_path):
    write(tmp_path, (training(10), ''), config=CONFIG)
    with work_folder.locked(tmp_path):
        assert runs.read(tmp_path).state == 'training'
        assert (tmp_path / work_folder.LOCK).exists()
    assert runs.read(tmp_path).state == 'stopped'


def test_a_lock_that_a_killed_run_has_left_is_none(tmp_path):
    (tmp_path / work_folder.LOCK).write_text('process 1')
    assert not work_folder.is_taken(tmp_path)


def test_a_checkpoint_tells_the_end_that_was_not_logged(tmp_path):
    write(tmp_path, (training(10, 20), ''), config=CONFIG)
    (tmp_path / 'last_checkpoint').write_text('iter_30.pth')
    assert runs.read(tmp_path).state == 'done'


def test_settings_are_those_that_the_runner_reads(tmp_path):
    assert runs.read(write(tmp_path, (training(10), ''), config=CONFIG)).settings == {'train_cfg.max_iters': 30}


LACKS = {
    'nothing': (lambda folder: folder / 'nowhere', 'there is no such folder'),
    'a file': (lambda folder: write(folder, (training(1), '')) / '20260101_000000/20260101_000000.log', 'is no folder'),
    'no records': (lambda folder: folder, r'no vis_data/scalars\.json in it'),
    'runs inside': (lambda folder: write(folder / 'one', (training(1), '')).parent, r'one in it have: .*/\*'),
    'nothing logged': (lambda folder: write(folder, ([], '')), 'nothing was logged yet'),
    'a broken config': (lambda folder: write(folder, (training(1), ''), config='a = ('), 'config.py cannot be read'),
}


@pytest.mark.parametrize('what', LACKS)
def test_what_is_no_run_says_what_it_lacks(what, tmp_path):
    make, message = LACKS[what]
    with pytest.raises(UsageError, match=message) as stop:
        runs.read(make(tmp_path))
    assert len(str(stop.value).splitlines()) == 1
