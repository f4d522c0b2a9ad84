"""A calm console; the file has everything."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmvssm.openmmlab import console

ROOT = Path(__file__).parents[2]
SHORT = (
    'train_dataloader.dataset.times=1', 'train_dataloader.batch_size=40', 'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False', 'val_dataloader.num_workers=0',
    'val_dataloader.persistent_workers=False', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=5',
)  # fmt: skip


@pytest.fixture(scope='module')
def ran(tmp_path_factory):
    """(what a run printed, its work folder)."""
    folder = tmp_path_factory.mktemp('run')
    command = [sys.executable, str(ROOT / 'tools/train.py'), 'demo/mask_rcnn_vmamba_nuclei', '--data', 'demo']
    done = subprocess.run(
        [*command, '--work-dir', str(folder / 'w'), '--cfg-options', *SHORT],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )
    return done.stdout + done.stderr, folder / 'w'


def test_a_run_prints_a_screen_at_most(ran):
    assert len(ran[0].splitlines()) <= 20


def test_its_first_words_are_what_runs_on_what_and_where_the_log_is(ran):
    printed, folder = ran
    line = next(line for line in printed.splitlines() if line.startswith('MaskRCNN on VMamba, 2.0 M parameters'))
    assert '1 epochs of 2 iterations, on c' in line
    log = Path(line.rpartition(': ')[2])
    assert log.is_file()
    assert folder in log.parents


@pytest.mark.parametrize(
    'noise', ['OneDL', 'faster_coco_eval', 'paramwise_options', 'creating index', 'will be deprecated']
)
def test_noise_is_not_printed(noise, ran):
    assert noise not in ran[0]


def test_the_file_has_what_the_console_has_not(ran):
    text = next(ran[1].glob('*/*.log')).read_text()
    assert 'System environment' in text
    assert 'paramwise_options' in text
    assert 'Epoch(train)' in text


RECORDS = {
    'mmengine/hooks/logger_hook.py': ('Epoch(train) [1][1/1] eta: 0:00:00', logging.INFO, True),
    'mmengine/hooks/checkpoint_hook.py': ('Saving checkpoint at 1 epochs', logging.INFO, True),
    'mmengine/runner/runner.py': ('System environment', logging.INFO, False),
    'mmengine/logging/logger.py': ('something is wrong', logging.WARNING, True),
    'mmengine/fileio/file_client.py': ('"FileClient" will be deprecated in future', logging.WARNING, False),
    f'{console.OWN}/openmmlab/hooks/start_line.py': ('MaskRCNN on VMamba', logging.INFO, True),
}


@pytest.mark.parametrize('path', RECORDS, ids=lambda path: Path(path).name)
def test_what_is_for_the_console(path):
    text, level, shown = RECORDS[path]
    assert console.is_for_the_console(logging.LogRecord('mmengine', level, path, 1, text, (), None)) is shown


def test_silence_ends_where_it_should(capsys):
    with console.silent():
        print('nothing')
        logging.getLogger('x').warning('nothing')
    print('heard')
    assert capsys.readouterr().out == 'heard\n'
    assert logging.getLogger('x').isEnabledFor(logging.WARNING)
