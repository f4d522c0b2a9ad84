"""Write ONNX or PyTorch export files, and check each before it is kept."""

import argparse
from typing import TYPE_CHECKING

from mmvssm.commands import arguments
from mmvssm.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from mmvssm.targets import Target

EXAMPLES = """examples:
  mmvssm export vmamba_tiny_s1l8.in1k                         # a classifier, 224 x 224
  mmvssm export vmamba_tiny_s1l8.in1k --features --dynamic    # all maps, one file for every size
  mmvssm export localvmamba_tiny my.ckpt --scan attention     # the LinearAttention operator of opset 27
  mmvssm export upernet_vmamba_t my.pth --size 512 --dynamic
  mmvssm export mask_rcnn_vmamba_t my.pth --size 800x1280     # backbone, neck and RPN
  mmvssm export vil2_tiny.e400_in1k --format pt2

A file is run at five sizes (or on five images of its one size) and kept if every output agrees to 1e-4. Backbones
take normalised images; detectors and segmentors RGB from 0 to 255."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A model, a format and sizes."""
    parser.add_argument('model', help='config, variant, published checkpoint or work folder of a run')
    parser.add_argument('checkpoint', nargs='?', help="file or URL (default: the name's own, else random weights)")
    parser.add_argument('--format', choices=('onnx', 'pt2'), default='onnx')
    parser.add_argument('--size', default='224', metavar='PIXELS', help='224 (default), 512x1024 (height x width), ...')
    parser.add_argument('--dynamic', action='store_true', help='one file for all heights, widths and batches')
    parser.add_argument('--features', action='store_true', help='the maps of a backbone, not its classifier')
    parser.add_argument('--scan', choices=('plain', 'attention'), default='plain', help='form of the scan in ONNX')
    parser.add_argument('--openvino', action='store_true', help='check and time the file in OpenVINO as well')
    parser.add_argument('-o', '--out', metavar='FILE', help='file to write (default: MODEL.onnx or MODEL.pt2)')


def run(args: argparse.Namespace) -> None:
    """Export, check, say how exact and how fast."""
    from mmvssm import targets

    try:
        from mmvssm.export import FORMATS, export
    except ImportError as error:
        raise UsageError(
            f'exporting needs onnx, onnxscript and onnxruntime: pip install "mmvssm[export]" ({error})'
        ) from None

    target = targets.find(args.model, args.checkpoint)
    size = _size(args.size)
    model, names, left_out = _model(target, args.features)
    multiple = 32 if target.config is not None else _stride(model)
    path = args.out or f'{args.model.rstrip("/").rpartition("/")[2].removesuffix(".py")}{FORMATS[args.format]}'
    found = export(
        model,
        path,
        format=args.format,
        size=size,
        dynamic=args.dynamic,
        scan=args.scan,
        openvino=args.openvino,
        multiple=multiple,
        outputs=names,
    )
    for shape, off in found.errors.items():
        print(f'{"x".join(map(str, shape)):16} agrees to {off:.1e}')
    for runtime, ratio in found.speed.items():
        print(f'{runtime}: {ratio:.2f} times as fast as torch here')
    if target.checkpoint is None:
        print('the weights are random: no checkpoint was given')
    if args.dynamic and multiple > 1:
        print(f'heights and widths have to be multiples of {multiple}')
    if left_out:
        print(f'not in the file: {left_out}')
    print(f'{found.path} ({found.path.stat().st_size / 1e6:.1f} MB)')


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split('x')
    if len(parts) > 2 or not all(part.isdigit() and int(part) >= 32 for part in parts):
        raise UsageError(f'--size {text} is no size; allowed: a number from 32 on, or HEIGHTxWIDTH')
    return int(parts[0]), int(parts[-1])


def _stride(model: 'nn.Module') -> int:
    """Of a plain backbone, whose images are padded to whole patches by code that a graph does not hold; else 1."""
    reduction = getattr(getattr(model, 'feature_info', None), 'reduction', None)
    strides = set(reduction()) if reduction else set()
    return strides.pop() if len(strides) == 1 else 1


def _model(target: 'Target', features: bool) -> 'tuple[nn.Module, list[str] | None, str]':
    arguments.seed()
    if target.config is not None:
        from mmvssm.openmmlab import exporting

        part = exporting.exportable(target)
        return part.model, part.outputs, part.left_out
    if not features:
        return target.create(), ['logits'], ''
    model = target.create(features_only=True)
    return model, [f'map{i}' for i in range(len(model.feature_info.channels()))], ''
