"""Open a local page: drop an image, see what one or two models find."""

import argparse

from mmvssm.commands import arguments
from mmvssm.errors import UsageError

EXAMPLES = """examples:
  mmvssm app work_dirs/mask_rcnn_localvmamba_nuclei
  mmvssm app vmamba_tiny_s1l8.mask_rcnn_1x_coco vmamba_small_s2l15.mask_rcnn_1x_coco     # compared
  mmvssm app mask_rcnn_vmamba_t=mine.pth --port 8000

The page is served to this machine alone; Ctrl-C ends it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Models, a port."""
    parser.add_argument('models', nargs='+', metavar='MODEL[=CHECKPOINT]', help='one or two, as for `mmvssm predict`')
    parser.add_argument('--port', type=int, default=7860, help='default: %(default)s')
    arguments.add_device(parser)


def run(args: argparse.Namespace) -> None:
    """Serve the page."""
    if len(args.models) > 2:
        raise UsageError(f'{len(args.models)} models were given; the page compares two')
    from mmvssm import app
    from mmvssm.openmmlab.predictor import Predictor

    device = arguments.device(args.device)
    predictors = {}
    for given in args.models:
        name, _, checkpoint = given.partition('=')
        predictors[given] = Predictor(name, checkpoint or None, device=device)
    try:
        app.page(predictors).launch(server_name='127.0.0.1', server_port=args.port, share=False, quiet=False)
    except OSError as error:
        raise UsageError(f'--port {args.port}: {error}') from None
