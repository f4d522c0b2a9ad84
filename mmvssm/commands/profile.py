"""Parameters, FLOPs, memory and speed of a model, beside others in the same process."""

import argparse
from typing import TYPE_CHECKING

from mmvssm.commands import arguments
from mmvssm.errors import UsageError

if TYPE_CHECKING:
    from mmvssm.profiling import Row
    from mmvssm.profiling.trial import Setting

EXAMPLES = """examples:
  mmvssm profile vmamba_tiny_s1l8
  mmvssm profile vmamba_tiny_s1l8 --versus swin_tiny_patch4_window7_224 convnext_tiny --sizes 224 512 800x1280
  mmvssm profile vil_tiny --versus vit_small_patch16_224 --sizes 224 448 896 --plot scaling.png --csv speed.csv
  mmvssm profile mask_rcnn_vmamba_t --no-time            # whole detectors, at 1280 x 800
  mmvssm profile vmamba_tiny_s1l8 --device cuda --dtype bfloat16 --compile --train --batch 32

Models take turns, so the ratios hold on a machine whose speed drifts. One whose output is not finite, not the same
twice or not the reference's is not timed. Multiply-adds count once."""
DTYPES = ('float32', 'bfloat16', 'float16')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Models, sizes and how to run them."""
    parser.add_argument('model', help='config, variant, published checkpoint or any model of timm')
    parser.add_argument('--versus', nargs='+', default=[], metavar='MODEL', help='others to run beside it')
    parser.add_argument('--sizes', nargs='+', type=size, metavar='PIXELS', help='224, 800x1280 (height x width), ...')
    parser.add_argument('--batch', type=int, default=1, help='images a step (default: %(default)s)')
    parser.add_argument('--dtype', choices=DTYPES, default='float32', help='the shorter ones by autocast')
    parser.add_argument('--compile', action='store_true', help='with torch.compile')
    parser.add_argument('--train', action='store_true', help='time forward and backward')
    parser.add_argument('--rounds', type=int, default=10, help='timed steps of each model (default: %(default)s)')
    parser.add_argument('--no-time', action='store_true', help='count only')
    parser.add_argument('--depth', type=int, default=1, help='of the table by module (default: %(default)s)')
    parser.add_argument('--csv', metavar='FILE', help="table in the columns of timm's benchmark")
    parser.add_argument('--plot', metavar='FILE', help='time and memory over the sizes: .png, .pdf, .svg')
    arguments.add_device(parser)


def size(text: str) -> tuple[int, int]:
    """'224' or '800x1280' -> (height, width)."""
    parts = text.lower().split('x')
    if len(parts) > 2 or not all(part.isdigit() and int(part) >= 32 for part in parts):
        raise argparse.ArgumentTypeError(f'{text!r} is no size; allowed: a number from 32 on, or HEIGHTxWIDTH')
    return int(parts[0]), int(parts[-1])


def run(args: argparse.Namespace) -> None:
    """Count, measure, print."""
    for flag in ('batch', 'rounds', 'depth'):
        if getattr(args, flag) < 1:
            raise UsageError(f'--{flag} {getattr(args, flag)} must be at least 1')

    import torch

    from mmvssm import targets
    from mmvssm.profiling import table, trial

    device = arguments.device(args.device)
    chosen = [targets.find(name) for name in (args.model, *args.versus)]
    setting = trial.Setting(args.batch, device, getattr(torch, args.dtype), args.compile, args.train, args.rounds)
    print(how(setting))
    rows = []
    for each in args.sizes or [_default_size(chosen[0])]:
        rows += _measure(chosen, each, setting, args)
        print(table.in_words(rows[-len(chosen) :]), flush=True)
    if args.csv:
        _write(args.csv, table.as_csv(rows, setting))
    if args.plot:
        _plot(args.plot, rows, how(setting))


def _measure(chosen: list, each: tuple[int, int], setting: 'Setting', args: argparse.Namespace) -> 'list[Row]':
    from functools import partial

    from mmvssm.profiling import profile, subject, table, trial

    first = subject(chosen[0], each)
    if each == (args.sizes or [each])[0]:
        print(table.by_module(first.model, trial.describe(first, each), args.depth), end='\n\n')
    if args.no_time:
        return [trial.describe(subject(one, each), each) for one in chosen]
    return profile([lambda: first, *(partial(subject, one, each) for one in chosen[1:])], each, setting)


def how(setting: 'Setting') -> str:
    """What the figures hold for."""
    import torch

    from mmvssm.doctor import machine

    if setting.device.startswith('cuda'):
        where = torch.cuda.get_device_name(setting.device)
    else:
        where = f'{machine.facts()["processor"]}, {torch.get_num_threads()} threads'
    what = 'forward and backward' if setting.train else 'forward'
    mode = 'compiled' if setting.compiled else 'eager'
    kind = str(setting.dtype).removeprefix('torch.')
    return f'{where}; torch {torch.__version__}, {kind}, {mode}, {what}, batch {setting.batch}, {setting.rounds} rounds'


def _default_size(target) -> tuple[int, int]:
    """Where the published totals were counted."""
    if target.config is None:
        return 224, 224
    from mmengine.config import Config

    from mmvssm.openmmlab import whole

    return whole.COUNTED_AT[Config.fromfile(target.config).get('default_scope', 'mmdet')]


def _write(path: str, text: str) -> None:
    with open(path, 'w', encoding='utf-8') as file:
        file.write(text)
    print(path)


def _plot(path: str, rows: 'list[Row]', title: str) -> None:
    from mmvssm.pictures import save
    from mmvssm.pictures.scaling import draw_scaling

    models: dict[str, list] = {}
    for row in rows:
        if row.times:
            models.setdefault(row.name, []).append((row.size[0] * row.size[1], row.seconds, row.peak))
    if not models:
        raise UsageError('--plot: nothing was timed')
    print(save(draw_scaling(models, title), path))
