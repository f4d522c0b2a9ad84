"""Published weights: what there is, fetching it, and telling what a file holds."""

import argparse

EXAMPLES = """examples:
  mmvssm weights list --family vmamba --task imagenet
  mmvssm weights fetch vmamba_tiny_s1l8
  mmvssm weights info checkpoint.pth
  mmvssm weights verify checkpoint.pth vmamba_tiny_s1l8.in1k
  mmvssm weights convert official.pth mine.safetensors

Files are read without running anything that they hold. Downloads go to torch's cache ($TORCH_HOME), those of
huggingface.co to its own ($HF_HOME), and are resumed; MMVSSM_OFFLINE=1 forbids them and says where to put a file."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command each."""
    commands = parser.add_subparsers(dest='command', required=True, metavar='list|fetch|verify|info|convert')

    def command(name: str, about: str, more: str = '') -> argparse.ArgumentParser:
        return commands.add_parser(name, help=about, description=f'{about}. {more}')

    add = command('list', 'table of the published checkpoints', 'Ends with the variants that have none, and why.')
    add.add_argument('--family', default='', help="beginning of the variants' names: vmamba, vmambav0, vil2, ...")
    add.add_argument('--task', choices=('imagenet', 'coco', 'ade20k'), help='only checkpoints of this task')
    add.add_argument('--urls', action='store_true', help='show addresses and remarks')
    more = "NAME is a checkpoint's name (see list), or a variant's for its ImageNet weights."
    add = command('fetch', 'download a published checkpoint, unless it is there, and print its path', more)
    add.add_argument('name')
    add.add_argument('--dir', help="folder to download to (default: torch's or huggingface_hub's cache)")
    add = command('verify', 'check that a file is a published checkpoint: undamaged, and of that variant', more)
    add.add_argument('file', help='path or URL of a checkpoint')
    add.add_argument('name')
    more = (
        'Format, what lies beside the weights, where the weights are, their number, NaNs, the variants that they fit.'
    )
    add = command('info', 'tell what an unknown file is', more)
    add.add_argument('file', help='path or URL of a checkpoint')
    more = (
        "Every tensor is kept, a detector's heads and an optimizer's state too, and the order of keys; the result is "
        'compared bit for bit with the source.'
    )
    add = command('convert', "to safetensors, or back to torch's format", more)
    add.add_argument('source', help='path or URL of a checkpoint')
    add.add_argument('target', help='file to write; .safetensors, or any other suffix for torch.save')


def run(args: argparse.Namespace) -> None:
    """The sub-command."""
    from mmvssm.errors import UsageError

    try:
        globals()[f'_{args.command}'](args)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error


def _list(args: argparse.Namespace) -> None:
    import mmvssm
    from mmvssm import weights
    from mmvssm.weights import info, published

    print(info.table(weights.list_checkpoints(args.family, args.task), args.urls))
    for state in published.STATES[1:] if args.task in (None, 'imagenet') else ():
        names = [n for n in mmvssm.list_models(f'{args.family}*') if weights.state(n) == state and n[:5] != 'test_']
        print(f'{state}: {", ".join(names) or "none"}')


def _info(args: argparse.Namespace) -> None:
    from mmvssm import weights
    from mmvssm.backbones import identify
    from mmvssm.weights import info

    facts, state = info.describe(weights.local_path(args.file))
    facts['fits'] = ', '.join(identify(state)) or 'no registered variant'
    for label, text in facts.items():
        print(f'{label + ":":15}' + text.replace('\n', '\n' + ' ' * 15))


def _fetch(args: argparse.Namespace) -> None:
    from mmvssm import weights

    print(weights.fetch(args.name, cache_dir=args.dir))


def _verify(args: argparse.Namespace) -> None:
    from mmvssm import weights
    from mmvssm.backbones import identify
    from mmvssm.weights import info, published

    checkpoint, path = published.find(args.name), weights.local_path(args.file)
    info.verify(path, checkpoint, identify)
    print(
        f'{path} is whole and holds {checkpoint.model}' + ('' if checkpoint.sha256 else ' (no checksum is published)')
    )


def _convert(args: argparse.Namespace) -> None:
    from mmvssm import weights

    count, foreign = weights.convert(args.source, args.target)
    print(f'{args.target}: {count} tensors, read back and compared bit for bit')
    if foreign:
        print(f'objects that became plain values: {", ".join(foreign)}')
