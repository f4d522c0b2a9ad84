"""`mmvssm COMMAND`: one file a command, each over the rooms below; nothing heavy is imported before one runs."""

import argparse
import difflib
import errno
import importlib
import os
import sys
from types import ModuleType
from typing import NoReturn

from mmvssm.errors import UsageError

__all__ = ['COMMANDS', 'UsageError', 'main', 'parser']

COMMANDS = {
    'train': 'train a detector or a segmentor',
    'test': 'evaluate one on a data set',
    'reproduce': 'test published ones, published and measured figures side by side',
    'predict': 'run one on images, folders, URLs, videos or a camera',
    'compare': 'training runs beside each other: scores, curves, settings',
    'draw': 'scan paths, receptive fields, features, curves and training samples as pictures',
    'profile': 'parameters, FLOPs, memory and speed, beside other models',
    'export': 'write ONNX or PyTorch export files, checked',
    'search': 'find the scan directions that suit a task',
    'config': 'list the configs, print, save or compare them',
    'data': 'check, split or convert a data set',
    'tool': "run one of mmdet's or mmseg's own tools",
    'weights': 'list, fetch, verify, tell apart and convert checkpoints',
    'zoo': 'search the published models by task, size, accuracy and licence',
    'demo': 'train a small detector on embedded images and show what it finds',
    'app': 'a local page: drop an image, compare two models',
    'doctor': 'what is installed, what runs here, and what is wrong or slow',
}
DEBUG = 'MMVSSM_DEBUG'
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG)
EPILOG = f"""`mmvssm COMMAND --help` tells more. Errors in what was given are told in a line or two; {DEBUG}=1 shows the
traceback as well."""


def main(argv: list[str] | None = None) -> None:
    """Run a command line, `sys.argv`'s if none is given; what the user can put right ends it with a message."""
    name, rest = _choose(sys.argv[1:] if argv is None else argv)
    if os.getcwd() not in sys.path:  # where modules of the user's are looked for, as with `python -m`
        sys.path.append(os.getcwd())
    module = _module(name)
    args = parser(name, module).parse_args(rest)
    try:
        module.run(args)
    except BrokenPipeError:  # `mmvssm zoo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if not _of_the_user(error) or os.environ.get(DEBUG):
            raise
        sys.exit(f'error: {_words(error)}')
    except KeyboardInterrupt:
        sys.exit(130)


class _Parser(argparse.ArgumentParser):
    """Says what a mistyped option may have meant."""

    def error(self, message: str) -> NoReturn:
        meant = {}
        for word in message.split() if 'unrecognized arguments' in message else ():
            asked = word.partition('=')[0]
            if asked.startswith('--') and (near := difflib.get_close_matches(asked, _options(self), n=1)):
                meant[asked] = near[0]
        hint = ''.join(f'; did you mean {near} by {asked}?' for asked, near in meant.items())
        super().error(message + hint)


def _options(flags: argparse.ArgumentParser) -> list[str]:
    """The long options of a parser and of its subcommands."""
    found = [option for action in flags._actions for option in action.option_strings if option.startswith('--')]
    inner = (action for action in flags._actions if isinstance(action, argparse._SubParsersAction))
    return found + [option for action in inner for one in action.choices.values() for option in _options(one)]


def parser(name: str, module: ModuleType | None = None) -> argparse.ArgumentParser:
    """The parser of one command."""
    module = module or _module(name)
    flags = _Parser(
        prog=f'mmvssm {name}',
        description=module.__doc__,
        epilog=getattr(module, 'EXAMPLES', None),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(flags)
    return flags


def _choose(argv: list[str]) -> tuple[str, list[str]]:
    """The command and its arguments; help, version and an unknown name end the program."""
    top = argparse.ArgumentParser(
        prog='mmvssm',
        usage='mmvssm COMMAND [arguments]',
        description='Vision state-space backbones for dense prediction.\n\ncommands:\n'
        + '\n'.join(f'  {name:10}{about}' for name, about in COMMANDS.items()),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    top.add_argument('-h', '--help', action='help', help='show this message and exit')
    top.add_argument('--version', action='version', version=f'mmvssm {_version()}')
    if not argv:
        top.print_help()
        sys.exit(0)
    if argv[0].startswith('-'):
        top.parse_args(argv)
    if argv[0] not in COMMANDS:
        meant = difflib.get_close_matches(argv[0], COMMANDS, n=1)
        hint = f'did you mean {meant[0]}?' if meant else f'there are {", ".join(COMMANDS)}'
        top.error(f'no command {argv[0]!r}; {hint}')
    return argv[0], argv[1:]


def _version() -> str:
    import mmvssm

    return mmvssm.__version__


def _module(name: str) -> ModuleType:
    return importlib.import_module(f'mmvssm.commands.{name}')


def _of_the_user(error: Exception) -> bool:
    """Whether an error is of the user's making; those of a registry are while it builds from a config."""
    if isinstance(error, UsageError | FileNotFoundError | PermissionError):
        return True
    if isinstance(error, OSError) and error.errno in DISK:
        return True
    if (weights := sys.modules.get('mmvssm.weights')) and isinstance(error, weights.CheckpointError):
        return True
    trace, frames = error.__traceback__, set()
    while trace is not None:
        frames.add(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    return not frames.isdisjoint(('build_from_cfg', 'fromfile', 'merge_from_dict'))


def _words(error: Exception) -> str:
    if isinstance(error, UsageError):
        return str(error)
    if (errors := sys.modules.get('mmvssm.openmmlab.preflight.errors')) is not None:
        return errors.words(error)
    return str(error.args[0] if isinstance(error, KeyError) and error.args else error)
