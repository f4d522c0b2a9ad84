"""Run a detector or a segmentor on images, folders, globs, URLs, videos or a camera, and draw what it finds."""

import argparse
from typing import TYPE_CHECKING

from mmvssm.commands import arguments

if TYPE_CHECKING:
    from mmvssm.inputs import Source

EXAMPLES = """examples:
  mmvssm predict vmamba_tiny_s1l8.mask_rcnn_1x_coco street.jpg        # published weights, fetched once
  mmvssm predict mask_rcnn_vmamba_t my.pth photos/ 'more/*.png' https://host/image.jpg
  mmvssm predict work_dirs/mask_rcnn_localvmamba_nuclei data/nuclei/images/validation
  mmvssm predict CONFIG CHECKPOINT aerial.tif --tile 640               # large images, by overlapping tiles
  mmvssm predict CONFIG CHECKPOINT drive.mp4 --score 0.5
  mmvssm predict CONFIG CHECKPOINT 0 --frames 100                      # camera 0; Ctrl-C ends it

Writes DIR/NAME.jpg (a video for a video), DIR/predictions.json in COCO's format and, for segmentors, label images
in DIR/labels."""
CHECKPOINTS = ('.pth', '.pt', '.ckpt', '.th', '.tar', '.safetensors')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A model, inputs, how to predict and where to write."""
    parser.add_argument('model', help='config, published checkpoint (`mmvssm zoo --weights`) or work folder of a run')
    parser.add_argument(
        'inputs', nargs='+', metavar='[CHECKPOINT] INPUT', help='checkpoint file or URL, then what to predict on'
    )
    parser.add_argument('--out', default='predictions', metavar='DIR', help='folder to write (default: %(default)s)')
    parser.add_argument('--score', type=float, default=0.3, help='objects below it are left out (default: %(default)s)')
    parser.add_argument('--batch', type=int, default=1, help='images of equal size at once (default: %(default)s)')
    parser.add_argument('--tile', type=int, metavar='PIXELS', help='side of overlapping tiles, for large images')
    parser.add_argument('--overlap', type=float, default=0.2, help='of tiles, a fraction (default: %(default)s)')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation: several sizes and mirror images')
    parser.add_argument('--frames', type=int, metavar='N', help='at most so many of each video or camera')
    parser.add_argument('--no-pictures', action='store_true', help='write predictions.json alone')
    parser.add_argument('--no-legend', action='store_true', help='pictures of the very size of the images')
    arguments.add_device(parser)
    arguments.add_options(parser)


def run(args: argparse.Namespace) -> None:
    """Predict on every input; what cannot be read is reported and skipped."""
    from pathlib import Path

    checkpoint, words = _split(args.inputs)
    _check(args)

    from mmvssm import inputs
    from mmvssm.errors import UsageError
    from mmvssm.openmmlab.predictor import Predictor
    from mmvssm.openmmlab.sink import Sink

    sources = inputs.find(words)
    if all(source.kind == 'missing' for source in sources):
        raise UsageError('\n'.join(f'{source.name}: there is no such file' for source in sources[:3]))
    predictor = Predictor(
        args.model,
        checkpoint,
        device=arguments.device(args.device),
        options=arguments.options(args.cfg_options),
        tile=args.tile,
        overlap=args.overlap,
        tta=args.tta,
    )
    sink = Sink(Path(args.out), predictor.classes, pictures=not args.no_pictures, legend=not args.no_legend)
    bad = _predict(predictor, sources, sink, args)
    sink.close()
    print(sink.summary())
    if bad:
        print(f'{len(bad)} of {len(sources)} inputs could not be read and were left out:\n  ' + '\n  '.join(bad))
    if len(bad) == len(sources):
        raise UsageError('no input could be read')


def _split(words: list[str]) -> tuple[str | None, list[str]]:
    """The checkpoint, where the first word is one, and the inputs."""
    from mmvssm.errors import UsageError

    first, *rest = words
    if not first.lower().split('?')[0].endswith(CHECKPOINTS):
        return None, words
    if not rest:
        raise UsageError(f'{first} is a checkpoint: give images, folders, URLs or videos after it')
    return first, rest


def _check(args: argparse.Namespace) -> None:
    from mmvssm.errors import UsageError

    if not 0 <= args.score <= 1:
        raise UsageError(f'--score {args.score} must be from 0 to 1')
    for flag in ('batch', 'frames'):
        if (value := getattr(args, flag)) is not None and value < 1:
            raise UsageError(f'--{flag} {value} must be at least 1')


def _predict(predictor, sources: 'list[Source]', sink, args: argparse.Namespace) -> list[str]:
    """Feeds the sink; returns what could not be read, in words."""
    from itertools import islice

    from tqdm import tqdm

    from mmvssm import inputs

    bad: list[str] = []
    waiting: list[inputs.Frame] = []

    def flush() -> None:
        for frame, found in zip(waiting, predictor.predict([f.image for f in waiting], args.batch)):
            sink.add(frame, found.above(args.score))
        bar.update(len(waiting))
        waiting.clear()

    limit = args.frames or 10**9
    total = sum(min(limit, inputs.number_of_frames(source)) for source in sources)
    endless = any(source.kind == 'camera' for source in sources) and args.frames is None
    with tqdm(total=None if endless else total, unit='image', disable=None) as bar:
        try:
            for source in sources:
                try:
                    for frame in islice(inputs.read(source), args.frames):
                        waiting.append(frame)
                        if len(waiting) >= args.batch:
                            flush()
                except inputs.Unreadable as error:
                    bad.append(str(error))
                    bar.update(1)
            flush()
        except KeyboardInterrupt:  # what was found so far is kept
            flush()
    return bad
