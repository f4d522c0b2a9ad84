"""Find the scan directions that suit a task: which of some candidates every layer should read along.

The model of a config becomes a supernet, whose layers read along all candidates and weigh them by logits that are
trained with the weights (LocalMamba, arXiv 2403.09338). What each layer would keep is told at every validation. In the
end the work folder has directions.json, pictures, and searched.py, a config that trains the searched model.
"""

import argparse
from typing import TYPE_CHECKING

from mmvssm import configs
from mmvssm.commands import arguments
from mmvssm.errors import UsageError

if TYPE_CHECKING:
    from mmengine.config import Config

    from mmvssm.openmmlab.searching import Options

EXAMPLES = """examples:
  mmvssm search demo/mask_rcnn_localvmamba_nuclei --data demo       # embedded images, minutes on a laptop
  mmvssm train work_dirs/search_mask_rcnn_localvmamba_nuclei/searched.py --data demo
  mmvssm search upernet_vmamba_t --data MY_IMAGES --candidates h h_flip v v_flip w2 w7 my_package.spiral
  mmvssm search mask_rcnn_localvmamba_t --alternating --temperature 1 0.2 --patience 3 --amp --resume
  mmvssm search mask_rcnn_localvmamba_t --read work_dirs/RUN/epoch_8.pth --k 2
  mmvssm search --read checkpoint-99.pth.tar                        # of the authors' search code"""


TRIED = (5, 7)  # rows and columns of a map on which functions of the user's are tried


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is searched, how, and the flags of training."""
    parser.add_argument('config', nargs='?', help='path or name of a config (`mmvssm config` lists them)')
    arguments.add_options(parser)
    arguments.add_data(parser)
    arguments.add_looks(parser)
    what = parser.add_argument_group('what is searched')
    what.add_argument(
        '--candidates',
        nargs='+',
        metavar='ORDER',
        help='orders to choose from: names, or dotted names of your functions (default: h h_flip v v_flip w2 w2_flip '
        'w7 w7_flip)',
    )
    what.add_argument('--k', type=int, help='orders that a layer keeps (default: 4, of Vim 2)')
    what.add_argument('--force', nargs='+', metavar='ORDER', default=[], help='orders that every layer keeps')
    how = parser.add_argument_group('how')
    how.add_argument(
        '--alternating',
        action='store_true',
        help='train logits and weights in turn, on two halves of the data (DARTS, first order)',
    )
    how.add_argument(
        '--temperature',
        nargs='+',
        type=float,
        metavar='T',
        help='of the softmax; two: from the first to the second in the course of the run (default: 1)',
    )
    how.add_argument('--no-logit-decay', action='store_true', help='no weight decay on the logits')
    how.add_argument('--logit-lr', type=float, default=1.0, metavar='M', help='their learning rate, times the others')
    how.add_argument('--patience', type=int, metavar='N', help='stop once N reports tell the same choice')
    arguments.add_training(how)
    parser.add_argument('--read', metavar='CHECKPOINT', help='train nothing: tell the choice in a checkpoint')
    parser.add_argument('--ema', action='store_true', help='with --read: of the averaged weights')
    arguments.add_run(parser)


def run(args: argparse.Namespace) -> None:
    """Search, or read what a checkpoint has found."""
    if args.read is not None:
        _read(args)
    elif args.config is None:
        raise UsageError('which config? `mmvssm config` lists them; --read CHECKPOINT needs none')
    else:
        _search(args)


def _search(args: argparse.Namespace) -> None:
    from mmvssm.openmmlab import console, loggers, running, searching

    running.set_local_rank(args.local_rank)
    path, options, given = configs.find(args.config), _options(args), arguments.options(args.cfg_options)

    def prepare(cfg: 'Config') -> None:
        searching.prepare(cfg, path, options, args.data, given)
        loggers.add(cfg, args.log, resume=args.resume is not None or cfg.get('resume', False))

    with console.calm(args.verbose):
        arguments.look(args)
        cfg = running.load_config(
            path,
            splits=('train', 'val'),
            data_set=args.data,
            options=given,
            work_dir=args.work_dir or f'work_dirs/search_{path.stem}',
            amp=args.amp,
            launcher=args.launcher,
            val_fraction=args.val_fraction,
            unreadable=args.unreadable,
            prepare=prepare,
        )
        if args.check_data:
            return
        running.train(cfg, args.resume)


def _options(args: argparse.Namespace) -> 'Options':
    from mmvssm.openmmlab.searching import Options

    if args.k is not None and args.k < 1:
        raise UsageError(f'--k {args.k}: allowed: 1 or more')
    if args.temperature is not None and (len(args.temperature) > 2 or min(args.temperature) <= 0):
        raise UsageError(f'--temperature {" ".join(map(str, args.temperature))}: allowed: one or two numbers above 0')
    if args.patience is not None and args.patience < 1:
        raise UsageError(f'--patience {args.patience}: allowed: 1 or more')
    if args.logit_lr <= 0:
        raise UsageError(f'--logit-lr {args.logit_lr}: allowed: a number above 0')
    return Options(
        candidates=_candidates(args),
        k=args.k,
        forced=tuple(args.force),
        temperature=None if args.temperature is None else (args.temperature[0], args.temperature[-1]),
        alternating=args.alternating,
        logit_decay=not args.no_logit_decay,
        logit_lr=args.logit_lr,
        patience=args.patience,
    )


def _candidates(args: argparse.Namespace) -> list[str] | None:
    from mmvssm import scans

    if args.candidates is None:
        return None
    if len(set(args.candidates)) < len(args.candidates):
        raise UsageError(f'--candidates {" ".join(args.candidates)}: allowed: each order once')
    try:
        scans.check_orders('--candidates', args.candidates)
        for place, name in enumerate(args.candidates):
            scans.table(name, *TRIED, field=f'--candidates[{place}]')
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from None
    return args.candidates


def _read(args: argparse.Namespace) -> None:
    from pathlib import Path

    from mmvssm.openmmlab import searching

    base = None if args.config is None else configs.find(args.config).resolve()
    found = searching.read(args.read, base, _options(args), args.ema)
    print('\n'.join(searching.table_of(found)))
    known = found.about.get('base')
    if base is None and known and Path(known).is_file():
        base = Path(known)
    folder = args.work_dir or f'work_dirs/search_{Path(args.read).name.partition(".")[0]}'
    print('\n'.join(searching.write(found, folder, None if base is None else str(base))))
