"""Published weights: what there is, fetching it, and telling what a file holds."""

import argparse
import sys

import mmvssm
from mmvssm import weights
from mmvssm.backbones import identify
from mmvssm.weights import info, published

EPILOG = """examples:
  python tools/weights.py list --family vmamba --task imagenet
  python tools/weights.py fetch vmamba_tiny_s1l8
  python tools/weights.py info checkpoint.pth
  python tools/weights.py verify checkpoint.pth vmamba_tiny_s1l8.in1k
  python tools/weights.py convert official.pth mine.safetensors

Files are read without running anything that they hold. Downloads go to torch's cache ($TORCH_HOME), those of
huggingface.co to its own ($HF_HOME), and are resumed; MMVSSM_OFFLINE=1 forbids them and says where to put a file."""


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True)

    def command(name, about, more=''):
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
    )
    add = command(
        'convert', "to safetensors, or back to torch's format", more + 'compared bit for bit with the source.'
    )
    add.add_argument('source', help='path or URL of a checkpoint')
    add.add_argument('target', help='file to write; .safetensors, or any other suffix for torch.save')
    return parser.parse_args(argv)


def run_list(args) -> None:
    print(info.table(weights.list_checkpoints(args.family, args.task), args.urls))
    for state in published.STATES[1:] if args.task in (None, 'imagenet') else ():
        names = [n for n in mmvssm.list_models(f'{args.family}*') if weights.state(n) == state and n[:5] != 'test_']
        print(f'{state}: {", ".join(names) or "none"}')


def run_info(args) -> None:
    facts, state = info.describe(weights.local_path(args.file))
    facts['fits'] = ', '.join(identify(state)) or 'no registered variant'
    for label, text in facts.items():
        print(f'{label + ":":15}' + text.replace('\n', '\n' + ' ' * 15))


def run_fetch(args) -> None:
    print(weights.fetch(args.name, cache_dir=args.dir))


def run_verify(args) -> None:
    checkpoint, path = published.find(args.name), weights.local_path(args.file)
    info.verify(path, checkpoint, identify)
    print(
        f'{path} is whole and holds {checkpoint.model}' + ('' if checkpoint.sha256 else ' (no checksum is published)')
    )


def run_convert(args) -> None:
    count, foreign = weights.convert(args.source, args.target)
    print(f'{args.target}: {count} tensors, read back and compared bit for bit')
    if foreign:
        print(f'objects that became plain values: {", ".join(foreign)}')


def main(argv=None) -> int:
    args = parse_args(argv)
    try:
        globals()[f'run_{args.command}'](args)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
