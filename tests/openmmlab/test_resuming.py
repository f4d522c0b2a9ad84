"""Where a run goes on: by what can be read, whatever the pointer says."""

import shutil

import pytest
import torch
from mmengine.runner import Runner

from mmvssm.openmmlab.resuming import newest
from mmvssm.weights import CheckpointError, read_checkpoint
from tests.openmmlab import toy

HOOK = dict(type='mmvssm.AtomicCheckpointHook', interval=1)


@pytest.fixture(scope='module')
def three_epochs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('run')
    toy.runner(folder, dict(checkpoint=HOOK), epochs=3).train()
    return folder


@pytest.fixture
def work_dir(three_epochs, tmp_path):
    return shutil.copytree(three_epochs, tmp_path / 'run')


def resume(work_dir, epochs=4) -> Runner:
    runner = toy.runner(work_dir, dict(checkpoint=HOOK), epochs=epochs, resume=True)
    runner.train()
    return runner


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spoil_pointer(text):
    return lambda folder: (folder / 'last_checkpoint').write_text(text)


# what happens to the folder -> the epoch that the run goes on from
ACCIDENTS = {
    'nothing': (lambda folder: None, 3),
    'pointer gone': (lambda folder: (folder / 'last_checkpoint').unlink(), 3),
    'pointer empty': (spoil_pointer(''), 3),
    'pointer blank': (spoil_pointer('\n'), 3),
    'pointer of another machine': (spoil_pointer('/scratch/run/epoch_1.pth'), 3),
    'pointer of nonsense': (spoil_pointer('\0\0\0'), 3),
    'pointer not text': (lambda folder: (folder / 'last_checkpoint').write_bytes(b'\xff\xfe\x80'), 3),
    'pointer to an older file': (spoil_pointer('epoch_1.pth'), 3),
    'newest cut in half': (lambda folder: halve(folder / 'epoch_3.pth'), 2),
    'newest empty': (lambda folder: (folder / 'epoch_3.pth').write_bytes(b''), 2),
    'newest zeroed': (lambda folder: (folder / 'epoch_3.pth').write_bytes(b'\0' * 5000), 2),
    'newest is a folder': (
        lambda folder: ((folder / 'epoch_3.pth').unlink(), (folder / 'epoch_3.pth').mkdir()),
        2,
    ),
    'newest deleted': (lambda folder: (folder / 'epoch_3.pth').unlink(), 2),
    'two newest cut in half': (lambda folder: [halve(folder / f'epoch_{n}.pth') for n in (2, 3)], 1),
    'oldest touched last': (lambda folder: (folder / 'epoch_1.pth').touch(), 3),
    'weights alone beside': (
        lambda folder: torch.save(read_checkpoint(folder / 'epoch_1.pth')['state_dict'], folder / 'init.pth'),
        3,
    ),
    'leftover of a kill': (lambda folder: (folder / '.epoch_4.pth.tmp').write_bytes(b'half'), 3),
}


@pytest.mark.parametrize('accident', ACCIDENTS)
def test_newest_that_can_be_read_is_taken(accident, work_dir):
    happen, epoch = ACCIDENTS[accident]
    happen(work_dir)
    assert newest(work_dir) == str(work_dir / f'epoch_{epoch}.pth')


@pytest.mark.parametrize('accident', ['pointer gone', 'newest cut in half'])
def test_resumed_after_an_accident_is_the_undisturbed_run(accident, work_dir, tmp_path):
    ACCIDENTS[accident][0](work_dir)
    assert resume(work_dir).epoch == 4
    toy.runner(tmp_path / 'whole', dict(checkpoint=HOOK), epochs=4).train()
    found, expected = (read_checkpoint(f / 'epoch_4.pth')['state_dict'] for f in (work_dir, tmp_path / 'whole'))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_what_was_skipped_is_named_with_the_reason(work_dir, caplog, monkeypatch):
    halve(work_dir / 'epoch_3.pth')
    lines = []
    monkeypatch.setattr('mmvssm.openmmlab.resuming.print_log', lambda line, *args: lines.append(line))
    newest(work_dir)
    assert lines[0].startswith('skipped epoch_3.pth: is cut off or damaged')
    assert lines[1] == 'going on from epoch_2.pth'


def test_nothing_readable_stops(work_dir):
    for path in work_dir.glob('*.pth'):
        halve(path)
    with pytest.raises(CheckpointError, match=r'no checkpoint in .* can be resumed: epoch_3\.pth: is cut off'):
        resume(work_dir)


def test_only_weights_there_stops(work_dir):
    state = read_checkpoint(work_dir / 'epoch_1.pth')['state_dict']
    for path in work_dir.glob('*.pth'):
        torch.save(state, path)
    with pytest.raises(CheckpointError, match='holds weights, not the state of a training run'):
        resume(work_dir)


def test_an_empty_folder_starts_from_the_beginning(tmp_path):
    assert resume(tmp_path, epochs=1).epoch == 1


@pytest.mark.parametrize('content', ['state dict', 'wrapped', 'best'])
def test_weights_given_to_resume_from_are_refused_in_words(content, work_dir):
    whole = read_checkpoint(work_dir / 'epoch_1.pth')
    state = whole['state_dict']
    path = work_dir / 'weights.pth'
    best = dict(meta=whole['meta'], state_dict=state)
    torch.save(dict(zip(('state dict', 'wrapped', 'best'), (state, dict(state_dict=state), best)))[content], path)
    runner = toy.runner(work_dir, dict(checkpoint=HOOK), epochs=4, resume=True, load_from=str(path))
    with pytest.raises(CheckpointError, match=r'holds weights, not the state of a training run\n.*load_from=FILE'):
        runner.train()


def test_the_pointer_names_the_file_and_no_folder(work_dir):
    assert (work_dir / 'last_checkpoint').read_text() == 'epoch_3.pth'


def test_a_moved_folder_goes_on(work_dir, tmp_path):
    moved = tmp_path / 'elsewhere'
    work_dir.rename(moved)
    assert resume(moved).epoch == 4


def test_checkpoints_in_a_folder_of_their_own_are_found(tmp_path):
    hook = dict(HOOK, out_dir=str(tmp_path / 'out'))
    toy.runner(tmp_path / 'run', dict(checkpoint=hook), epochs=1).train()
    assert newest(tmp_path / 'run') == str(tmp_path / 'run/../out/run/epoch_1.pth')
