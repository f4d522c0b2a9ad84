"""`mmvssm` itself: its table, its errors, how fast it answers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mmvssm
from mmvssm import commands
from mmvssm.commands import COMMANDS, UsageError


def ended(capsys, *argv):
    """(exit code, standard output, standard error) of a command line that ends the program."""
    with pytest.raises(SystemExit) as stop:
        commands.main(list(argv))
    return stop.value.code, *capsys.readouterr()


def test_help_lists_every_command(capsys):
    code, out, _ = ended(capsys, '--help')
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if line.startswith('  ')][: len(COMMANDS)] == list(COMMANDS)


def test_no_arguments_are_help(capsys):
    assert ended(capsys)[:2] == ended(capsys, '--help')[:2]


def test_version(capsys):
    assert ended(capsys, '--version')[1] == f'mmvssm {mmvssm.__version__}\n'


def test_unknown_command_names_a_near_one(capsys):
    code, _, err = ended(capsys, 'trian')
    assert code == 2
    assert err.endswith("no command 'trian'; did you mean train?\n")


@pytest.mark.parametrize(
    ('line', 'meant'),
    [
        (['search', 'x', '--cadidates', 'h'], 'did you mean --candidates by --cadidates?'),
        (['train', 'x', '--work_dir=w'], 'did you mean --work-dir by --work_dir?'),
        (['draw', 'features', 'x', 'y', '--chekpoint', 'z'], 'did you mean --checkpoint by --chekpoint?'),
        (['train', 'x', '--zzz'], 'unrecognized arguments: --zzz'),
    ],
    ids=['search', 'underscore', 'of a subcommand', 'like none'],
)
def test_a_mistyped_option_names_what_it_may_have_meant(line, meant, capsys):
    with pytest.raises(SystemExit) as stopped:
        commands.main(line)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.rstrip().endswith(meant)


@pytest.mark.parametrize('name', COMMANDS)
def test_every_command_explains_itself(name, capsys):
    code, out, _ = ended(capsys, name, '--help')
    assert code == 0
    assert f'usage: mmvssm {name}' in out
    assert 'example' in out


@pytest.mark.parametrize('name', ['', *COMMANDS])
def test_help_comes_before_torch(name):
    """What takes time is importing torch; a quick answer is one without it."""
    code = (
        'import sys; sys.argv = ["mmvssm"]; from mmvssm import commands\n'
        f'try: commands.main({[*([name] if name else []), "--help"]})\n'
        'finally: assert not {"torch", "numpy", "mmengine", "timm", "matplotlib"} & set(sys.modules)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr


def test_the_console_command_gets_the_public_names_when_it_asks():
    code = 'import sys; sys.argv = ["mmvssm"]; import mmvssm; print("torch" in sys.modules, len(mmvssm.list_models()))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=os.environ, check=True)
    loaded, number = done.stdout.split()
    assert (loaded, int(number)) == ('False', len(mmvssm.list_models()))


class Failing:
    """A command that raises."""

    def __init__(self, error):
        self.error = error

    def add_arguments(self, parser):
        pass

    def run(self, args):
        raise self.error


@pytest.mark.parametrize(
    'error', [UsageError('give x'), FileNotFoundError('no x'), mmvssm.weights.CheckpointError('bad x')], ids=repr
)
def test_errors_of_the_user_are_one_line(error, monkeypatch):
    monkeypatch.setattr(commands, '_module', lambda name: Failing(error))
    with pytest.raises(SystemExit) as stop:
        commands.main(['train'])
    assert stop.value.code == f'error: {error}'


def test_other_errors_keep_their_traceback(monkeypatch):
    monkeypatch.setattr(commands, '_module', lambda name: Failing(ValueError('a bug')))
    with pytest.raises(ValueError, match='a bug'):
        commands.main(['train'])


def test_debugging_keeps_the_traceback(monkeypatch):
    monkeypatch.setenv(commands.DEBUG, '1')
    monkeypatch.setattr(commands, '_module', lambda name: Failing(UsageError('give x')))
    with pytest.raises(UsageError):
        commands.main(['train'])


def test_every_module_of_the_room_is_a_command_or_serves_them():
    found = {path.stem for path in Path(commands.__file__).parent.glob('*.py') if not path.stem.startswith('__')}
    assert found - {'arguments'} == set(COMMANDS)
