"""Run a tool of mmdet or mmseg, with the backbones and operators of this project in place."""

import argparse

EXAMPLES = """examples:
  mmvssm tool                                        # all of them
  mmvssm tool browse_dataset --help                  # what one takes, in its own words
  mmvssm tool browse_dataset mask_rcnn_vmamba_t --not-show --output-dir samples
  mmvssm tool confusion_matrix CONFIG PREDICTIONS.pkl DIR
  mmvssm tool mmseg/confusion_matrix CONFIG PREDICTIONS DIR"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A tool's name, then what it takes."""
    parser.add_argument('name', nargs='?', default='', help='a tool; mmdet/NAME or mmseg/NAME where both have one')
    parser.add_argument('arguments', nargs=argparse.REMAINDER, help='its own; names of configs become their paths')


def run(args: argparse.Namespace) -> None:
    """List the tools or run one."""
    from mmvssm.openmmlab import upstream_tools

    if args.name:
        upstream_tools.run(args.name, args.arguments)
    else:
        print('\n'.join(upstream_tools.names()))
