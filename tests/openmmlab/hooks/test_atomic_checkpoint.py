"""AtomicCheckpointHook: what a run leaves in its folder, whenever it is killed."""

import itertools
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import BaseMetric
from torch.utils.data import DataLoader

from mmvssm.openmmlab import compat, work_folder
from mmvssm.openmmlab.hooks import atomic_checkpoint
from mmvssm.openmmlab.resuming import newest
from mmvssm.weights import read_checkpoint
from tests.openmmlab import toy

compat.install()


def run(folder, epochs=1, train=True, resume=False, extra=None, **kwargs):
    """A toy run in `folder` with the hook under test, configured as in a config file."""
    hook = dict(type='mmvssm.AtomicCheckpointHook', interval=1, **kwargs)
    runner = toy.runner(folder, dict(checkpoint=hook), epochs, resume=resume, **(extra or {}))
    if train:
        runner.train()
    return runner


def names(folder):
    """Files in `folder`, without the copy of the config and the lock of a run that is under way."""
    found = {path.name for path in Path(folder).iterdir() if path.is_file() and path.suffix != '.py'}
    return found - {work_folder.LOCK}


def the_hook(runner):
    return next(hook for hook in runner.hooks if isinstance(hook, atomic_checkpoint.AtomicCheckpointHook))


def test_run_leaves_the_newest_checkpoints_and_a_pointer(tmp_path):
    run(tmp_path, epochs=4, max_keep_ckpts=2)
    assert names(tmp_path) == {'epoch_3.pth', 'epoch_4.pth', 'last_checkpoint'}
    assert newest(tmp_path) == str(tmp_path / 'epoch_4.pth')


def test_resumed_run_continues_and_keeps_deleting(tmp_path):
    run(tmp_path, epochs=2, max_keep_ckpts=2)
    runner = run(tmp_path, epochs=4, max_keep_ckpts=2, resume=True)
    assert runner.epoch == 4
    assert names(tmp_path) == {'epoch_3.pth', 'epoch_4.pth', 'last_checkpoint'}
    once = read_checkpoint(tmp_path / 'epoch_4.pth')['state_dict']
    run(tmp_path / 'through', epochs=4)
    through = read_checkpoint(tmp_path / 'through' / 'epoch_4.pth')['state_dict']
    assert all(torch.equal(once[name], through[name]) for name in through)


def test_iteration_based_run(tmp_path):
    hook = dict(type='mmvssm.AtomicCheckpointHook', interval=4, by_epoch=False, max_keep_ckpts=1)
    toy.runner(tmp_path, dict(checkpoint=hook)).train()
    assert names(tmp_path) == {'iter_6.pth', 'last_checkpoint'}


def test_runner_is_left_as_it_was(tmp_path):
    assert 'save_checkpoint' not in vars(run(tmp_path))


def test_leftovers_of_a_killed_run_go_when_the_next_starts(tmp_path):
    (tmp_path / '.epoch_7.pth.tmp').write_bytes(b'half')
    run(tmp_path)
    assert names(tmp_path) == {'epoch_1.pth', 'last_checkpoint'}


def test_checkpoint_that_a_kill_kept_from_deletion_goes_after_resuming(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(atomic_checkpoint.AtomicCheckpointHook, '_delete', lambda self, path: os.abort)
        run(tmp_path, epochs=2, max_keep_ckpts=1)
    assert 'epoch_1.pth' in names(tmp_path)
    run(tmp_path, epochs=3, max_keep_ckpts=1, resume=True)
    assert names(tmp_path) == {'epoch_3.pth', 'last_checkpoint'}


def test_failed_save_leaves_the_previous_checkpoint_and_no_trace(tmp_path, monkeypatch):
    runner = run(tmp_path, epochs=1, max_keep_ckpts=1)
    hook = the_hook(runner)
    hook.before_train(runner)
    monkeypatch.setattr(torch, 'save', lambda *args: (_ for _ in ()).throw(OSError('No space left on device')))
    with pytest.raises(OSError, match='No space left'):
        hook.after_train_epoch(runner)
    assert names(tmp_path) == {'epoch_1.pth', 'last_checkpoint'}
    read_checkpoint(newest(tmp_path))


class Rising(BaseMetric):
    """A score that rises with every evaluation."""

    value = 0

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        Rising.value += 1
        return dict(score=Rising.value)


class Validating(toy.Toy):
    def forward(self, x, mode='tensor'):
        return [x] if mode == 'predict' else super().forward(x, mode)


def test_previous_best_goes_only_after_the_new_one_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(toy, 'Toy', Validating)
    seen = []
    remove = atomic_checkpoint.LocalBackend.remove
    monkeypatch.setattr(
        atomic_checkpoint.LocalBackend, 'remove', lambda self, path: (seen.append(names(tmp_path)), remove(self, path))
    )
    validation = dict(
        val_dataloader=DataLoader([torch.zeros(4)], collate_fn=lambda batch: dict(x=torch.stack(batch))),
        val_cfg=dict(),
        val_evaluator=[Rising()],
    )
    run(tmp_path, epochs=2, save_best='score', rule='greater', extra=validation)
    assert names(tmp_path) == {'epoch_1.pth', 'epoch_2.pth', 'best_score_epoch_2.pth', 'last_checkpoint'}
    assert seen == [names(tmp_path) | {'best_score_epoch_1.pth'}]


def save_for_ever(runner, hook, saved):
    """Save one epoch after another; tells through the pipe `saved` when the first is done."""
    hook.before_train(runner)
    for epoch in itertools.count(runner.epoch):
        runner._train_loop._epoch = epoch
        runner.model.stem.bias.data.fill_(epoch + 1)
        hook._save_checkpoint(runner)
        os.write(saved, b'.')


@pytest.mark.parametrize('kills', [25, pytest.param(200, marks=pytest.mark.slow)])
def test_random_kills_during_saves_leave_a_loadable_checkpoint(kills, tmp_path, monkeypatch):
    """Children that do nothing but save are killed at random; each one goes on from what the last one left."""
    monkeypatch.setattr('mmengine.runner.runner.get_git_hash', str)  # a process, slower than the save itself
    runner = run(tmp_path, max_keep_ckpts=2)
    hook = the_hook(runner)
    randomness, last, while_writing = random.Random(0), 1, 0
    for _ in range(kills):
        waiting, saved = os.pipe()
        child = os.fork()
        if not child:
            try:
                save_for_ever(runner, hook, saved)
            finally:
                os._exit(1)
        os.read(waiting, 1)
        time.sleep(randomness.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        os.close(waiting)
        os.close(saved)
        while_writing += any(name.endswith('.tmp') for name in names(tmp_path))
        content = compat.load_from_file_or_url(newest(tmp_path))
        epoch = content['meta']['epoch']
        assert epoch > last
        assert (content['state_dict']['stem.bias'] == epoch).all()
        last = runner._train_loop._epoch = epoch
        runner.message_hub.load_state_dict(content['message_hub'])
    assert while_writing > kills / 10
    assert len([name for name in names(tmp_path) if name.startswith('epoch')]) <= 4
