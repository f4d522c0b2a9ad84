"""Pictures of what a model sees and how it learns; PNG, PDF or SVG by the name given to -o."""

import argparse
from typing import TYPE_CHECKING

from mmvssm.commands import arguments
from mmvssm.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

EXAMPLES = """examples:
  mmvssm draw scan-paths                                      # every order
  mmvssm draw scan-paths localvmamba_tiny --image street.jpg  # of a model's layers, on an image
  mmvssm draw choices localvmamba_tiny                        # which directions a search kept; or directions.json
  mmvssm draw erf vmamba_tiny_s1l8 localvmamba_tiny swin_tiny_patch4_window7_224 resnet50
  mmvssm draw erf work_dirs/RUN vim_tiny=my.pth               # before and after training
  mmvssm draw features work_dirs/RUN street.jpg
  mmvssm draw directions vmamba_tiny_s1l8.in1k street.jpg --layer 4
  mmvssm draw impulse vim_tiny street.jpg --token 7 7
  mmvssm draw curves work_dirs/ONE work_dirs/OTHER
  mmvssm draw samples mask_rcnn_vmamba_t --data demo

MODEL is a variant, a published checkpoint, a config, the work folder of a run or any model of timm."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command a kind of picture."""
    kinds = parser.add_subparsers(dest='kind', required=True, metavar='KIND')

    def kind(name: str, about: str, out: str) -> argparse.ArgumentParser:
        add = kinds.add_parser(name, help=about, description=f'{about[0].upper()}{about[1:]}.')
        add.add_argument('-o', '--out', default=out, metavar='FILE', help='picture to write (default: %(default)s)')
        return add

    def on_image(add: argparse.ArgumentParser) -> None:
        add.add_argument('model', metavar='MODEL')
        add.add_argument('image', help='file or URL')
        add.add_argument('--checkpoint', help='weights (default: those that the name stands for, else random)')
        add.add_argument('--size', type=_size, default=(224, 224), metavar='PIXELS', help='224 (default), 480x640, ...')

    add = kind('scan-paths', 'in which order layers read the tokens', 'scan_paths.png')
    add.add_argument('model', nargs='?', metavar='MODEL', help='draw its layers (default: every order there is)')
    add.add_argument('--orders', nargs='+', metavar='NAME', help='only these, e.g. h v_flip w7')
    add.add_argument('--layers', nargs='+', type=int, metavar='N', help='only these layers of the model, from 0')
    add.add_argument('--grid', type=_size, default=(14, 14), help='tokens: 14 (default), 10x20, ...')
    add.add_argument('--image', help='draw on this image')
    add = kind('choices', 'which scan directions each layer reads along, out of which', 'choices.png')
    add.add_argument('model', metavar='MODEL', help='a model, or the file that `mmvssm search` wrote')
    add = kind('erf', 'effective receptive fields, several models side by side', 'erf.png')
    add.add_argument('models', nargs='+', metavar='MODEL[=CHECKPOINT]')
    add.add_argument('--size', type=_size, default=(224, 224), metavar='PIXELS', help='224 (default), 480x640, ...')
    add.add_argument('--images', nargs='+', help='average over these images (default: over noise)')
    add.add_argument('--number', type=int, default=8, help='inputs to average over (default: %(default)s)')
    on_image(kind('features', 'what the maps of a backbone hold', 'features.png'))
    add = kind('directions', 'what each scan direction of a layer adds', 'directions.png')
    on_image(add)
    add.add_argument('--layer', type=int, default=0, help='which scan, from 0 (default: %(default)s)')
    add = kind('impulse', 'where the maps move when one token of the image does', 'impulse.png')
    on_image(add)
    add.add_argument('--token', nargs=2, type=int, metavar=('ROW', 'COLUMN'), help='default: the middle')
    add.add_argument('--patch', type=int, default=16, help='pixels of a token (default: %(default)s)')
    add = kind('curves', 'losses, learning rate and figures of one or several runs', 'curves.png')
    add.add_argument('runs', nargs='+', metavar='RUN', help='work folder')
    add.add_argument('--show', nargs='+', default=[], metavar='NAME', help='e.g. loss_mask lr bbox_mAP_50')
    add = kind('samples', 'augmented training images with their labels', 'samples.png')
    arguments.add_config(add)
    arguments.add_data(add)
    add.add_argument('--number', type=int, default=12, help='how many (default: %(default)s)')


def run(args: argparse.Namespace) -> None:
    """Draw, write, say where."""
    try:
        from mmvssm.pictures import figure
    except ImportError:
        raise UsageError('drawing needs matplotlib: pip install matplotlib') from None
    if not args.out.lower().endswith(figure.SUFFIXES):
        raise UsageError(f'-o {args.out}: the name of a picture ends with {", ".join(figure.SUFFIXES)}')
    if args.kind == 'samples':
        _samples(args)
    else:
        figure.save(globals()[f'_{args.kind.replace("-", "_")}'](args), args.out)
    print(args.out)


def _size(text: str) -> tuple[int, int]:
    """'224' or '480x640' -> (height, width)."""
    parts = text.lower().split('x')
    if len(parts) > 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f'{text!r} is no size; allowed: a number, or HEIGHTxWIDTH')
    return int(parts[0]), int(parts[-1])


def _image(name: str) -> 'np.ndarray':
    from mmvssm import inputs

    (source,) = inputs.find([name])[:1]
    try:
        return next(inputs.read(source)).image
    except inputs.Unreadable as error:
        raise UsageError(str(error)) from None


def _scan_paths(args: argparse.Namespace) -> 'Figure':
    from mmvssm import observe, scans, targets
    from mmvssm.pictures import draw_layers, draw_orders

    image = None if args.image is None else _image(args.image)
    if args.model is None:
        try:
            orders = scans.check_orders('--orders', args.orders or [*scans.LOCAL_SCAN, *scans.ATROUS_SCAN])
        except (ValueError, TypeError) as error:
            raise UsageError(str(error)) from None
        return draw_orders(orders, args.grid, image=image)
    model, _ = observe.backbone(targets.find(args.model), (224, 224), trained=False)
    return draw_layers(model, args.grid, only=args.layers, image=image)


def _choices(args: argparse.Namespace) -> 'Figure':
    from mmvssm import directions, observe, scans, targets
    from mmvssm.pictures import draw_choices, figure_of_lists, scan_paths

    if directions.is_path(args.model):
        try:
            return draw_choices(directions.read(args.model))
        except ValueError as error:
            raise UsageError(str(error)) from None
    model, _ = observe.backbone(targets.find(args.model), (224, 224), trained=False)
    lists = list(scan_paths.layers(model).values())
    if not lists:
        raise UsageError(f'{args.model} has no layers that read tokens in an order')
    return figure_of_lists(lists, scans.LOCAL_SCAN, args.model)


def _erf(args: argparse.Namespace) -> 'Figure':
    import torch
    from tqdm import tqdm

    from mmvssm import observe, targets
    from mmvssm.pictures import draw_receptive_fields, receptive_field

    if args.images:
        images = torch.cat([observe.prepare(_image(name), args.size)[1] for name in args.images[: args.number]])
    else:
        images = observe.noise(args.number, args.size)
    fields = {}
    for name in tqdm(args.models, unit='model', disable=None):
        target = targets.find(*name.split('=', 1))
        name = name.partition('=')[0]
        for trained in (False, True) if target.checkpoint else (False,):
            torch.manual_seed(0)
            _, maps = observe.backbone(target, args.size, trained=trained)
            state = 'trained' if trained else 'random weights' if target.checkpoint else ''
            fields[f'{_short(name)}\n{state}' if state else _short(name)] = receptive_field(maps, images)
    return draw_receptive_fields(fields)


def _short(name: str) -> str:
    return name.rstrip('/').rpartition('/')[2].removesuffix('.py')


def _observed(args: argparse.Namespace):
    """The backbone, it as a function, the image to look at and the tensor of it."""
    import torch

    from mmvssm import observe, targets

    looked_at, tensor = observe.prepare(_image(args.image), args.size)
    torch.manual_seed(0)
    model, maps = observe.backbone(targets.find(args.model, args.checkpoint), args.size)
    return model, maps, looked_at, tensor


def _features(args: argparse.Namespace) -> 'Figure':
    import torch

    from mmvssm.pictures import draw_features

    _, maps, looked_at, tensor = _observed(args)
    with torch.no_grad():
        found = maps(tensor)
    return draw_features(looked_at, {f'map {i}': one[0] for i, one in enumerate(found)})


def _directions(args: argparse.Namespace) -> 'Figure':
    from mmvssm.pictures import draw_directions, scan_outputs
    from mmvssm.pictures.scan_paths import layers

    model, _, looked_at, tensor = _observed(args)
    outputs = scan_outputs(model, tensor)
    if not 0 <= args.layer < len(outputs):
        raise UsageError(f'--layer {args.layer}: the model has scans 0 to {len(outputs) - 1}')
    apart = outputs[args.layer][0]
    names = list(layers(model).values())[args.layer]
    rows = next(h for h in range(round(apart.shape[0] ** 0.5), 0, -1) if apart.shape[0] % h == 0)
    grid = _grid(apart.shape[0], args.size) or (rows, apart.shape[0] // rows)
    return draw_directions(looked_at, {str(n): apart[:, k] for k, n in enumerate(names)}, grid)


def _grid(tokens: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """Rows and columns of a map with so many tokens, of an image of that size."""
    for stride in (4, 8, 16, 32):
        grid = -(-size[0] // stride), -(-size[1] // stride)
        if grid[0] * grid[1] == tokens:
            return grid
    return None


def _impulse(args: argparse.Namespace) -> 'Figure':
    from mmvssm.pictures import draw_response, response

    _, maps, looked_at, tensor = _observed(args)
    place = tuple(args.token) if args.token else tuple(n // args.patch // 2 for n in args.size)
    found = response(maps, tensor, place, args.patch)
    return draw_response(looked_at, {f'map {i}': one for i, one in enumerate(found)}, place, args.patch)


def _curves(args: argparse.Namespace) -> 'Figure':
    from mmvssm.pictures import draw_curves, read_run

    return draw_curves({_short(run): read_run(run) for run in args.runs}, args.show)


def _samples(args: argparse.Namespace) -> None:
    from mmvssm import configs
    from mmvssm.openmmlab import parts, running
    from mmvssm.pictures import sheet

    cfg = running.load_config(
        configs.find(args.config), splits=('train',), data_set=args.data, options=arguments.options(args.cfg_options)
    )
    pictures = [found.picture() for found in parts.samples(cfg, args.number)]
    for picture in pictures:
        picture.thumbnail((640, 640))
    sheet(pictures, columns=4).save(args.out)
