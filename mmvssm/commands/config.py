"""List the configs that come with the package; print, save or compare one, see what is trained how."""

import argparse

from mmvssm import configs
from mmvssm.commands import arguments

EXAMPLES = """examples:
  mmvssm config                                    # all of them
  mmvssm config vmamba                             # those with this in their name
  mmvssm config mask_rcnn_vmamba_t                 # one, with everything that it inherits
  mmvssm config mask_rcnn_vmamba_t --save mine.py  # a file to change: it inherits from the original
  mmvssm config mask_rcnn_vmamba_t --full --save mine.py
  mmvssm config mask_rcnn_vmamba_t --diff mask_rcnn_vil_t
  mmvssm config upernet_vil_t --param-groups       # what is trained how: layer decay, weight decay"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A name, and what to do with it."""
    parser.add_argument('config', nargs='?', default='', help='path or name of a config, or a part of names')
    arguments.add_options(parser)
    parser.add_argument('--save', metavar='FILE', help='write it to a file that does not exist yet')
    parser.add_argument('--full', action='store_true', help='with --save: everything written out, no inheritance')
    parser.add_argument('--diff', metavar='OTHER', help='show the settings in which another config differs')
    parser.add_argument(
        '--param-groups', action='store_true', help="show the optimizer's groups: learning rate, weight decay, sizes"
    )
    parser.add_argument('--json', action='store_true', help='with --param-groups: records for programs')


def run(args: argparse.Namespace) -> None:
    """List, print, save, compare or look."""
    from mmvssm.errors import UsageError

    if args.json and not args.param_groups:
        raise UsageError('--json writes the groups of --param-groups')
    if not args.config or (configs.named(args.config) is None and not args.config.endswith('.py')):
        _list(args.config)
        return
    path = configs.find(args.config)
    if args.diff:
        _diff(args, configs.find(args.diff))
    elif args.save:
        _save(args, path)
    elif args.param_groups:
        _param_groups(args, path)
    else:
        print(_resolved(args, path).pretty_text.rstrip())


def _list(part: str) -> None:
    from mmvssm.errors import UsageError

    found = [name for name in configs.names() if part in name]
    if not found:
        raise UsageError(f'there is no config {part}{configs.near(part, configs.names())}')
    width = max(map(len, found)) + 2
    for name in found:
        print(f'{name:{width}}{configs.about(configs.FOLDER / f"{name}.py").partition(chr(10))[0]}')


def _resolved(args: argparse.Namespace, path):
    from mmvssm.openmmlab import config_files

    cfg = config_files.read(path)
    config_files.override(cfg, arguments.options(args.cfg_options))
    return cfg


def _param_groups(args: argparse.Namespace, path) -> None:
    import json
    from dataclasses import asdict

    from mmvssm.openmmlab import parameter_groups

    found = parameter_groups.groups(_resolved(args, path))
    print(json.dumps([asdict(one) for one in found], indent=1) if args.json else parameter_groups.in_words(found))


def _diff(args: argparse.Namespace, other) -> None:
    from mmvssm.openmmlab.config_files import flat

    before, after = (flat(_resolved(args, path).to_dict()) for path in (configs.find(args.config), other))
    for key in sorted(before.keys() | after.keys()):
        if key not in after or key not in before or before[key] != after[key]:
            print(f'{key}\n  - {before.get(key, "(not set)")}\n  + {after.get(key, "(not set)")}')


def _save(args: argparse.Namespace, path) -> None:
    from pathlib import Path

    from mmvssm.errors import UsageError

    target = Path(args.save)
    if target.exists():
        raise UsageError(f'--save {target}: the file exists already')
    if target.suffix != '.py':
        raise UsageError(f'--save {target}: the name of a config ends with .py')
    target.parent.mkdir(parents=True, exist_ok=True)
    if args.full or args.cfg_options:
        target.write_text(_resolved(args, path).pretty_text, encoding='utf-8')
    else:
        target.write_text(f'"""{configs.about(path)}\n"""\n\n_base_ = [{str(path.resolve())!r}]\n', encoding='utf-8')
    print(f'{target}: train it by `mmvssm train {target}`')
