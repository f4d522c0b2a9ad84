"""Measure ImageNet top-1 and top-5 of a variant, on timm's own data pipeline.

The images lie in one folder a class, as torchvision's ImageFolder has them (val/n01440764/*.JPEG, ...); DIR is that
folder or its parent. Crop, interpolation, mean and std are those of the published figure.
"""

import argparse
import sys
from pathlib import Path

import torch
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.utils import accuracy
from tqdm import tqdm

import mmvssm
from mmvssm import weights


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name', help='variant, e.g. vmamba_tiny_s1l8')
    parser.add_argument('--data', required=True, type=Path, metavar='DIR', help='folder of the validation images')
    parser.add_argument(
        '--pretrained', nargs='?', const=True, metavar='FILE', help='the published weights, or those of a path or URL'
    )
    parser.add_argument('--img-size', type=int, default=224, help='pixels of the square crop (default: 224)')
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument('--workers', type=int, default=4, help='processes that load images')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--amp', action='store_true', help='bfloat16 autocast (the published figures are float32)')
    return parser.parse_args(argv)


def find_classes(folder: Path) -> tuple[Path, int]:
    """The folder of class folders, and their number."""
    folder = folder / 'val' if (folder / 'val').is_dir() else folder
    count = sum(path.is_dir() for path in folder.iterdir()) if folder.is_dir() else 0
    if not count:
        raise ValueError(f'{folder} holds no class folders.\nGive --data the folder with val/CLASS/IMAGE files in it.')
    return folder, count


def build(args, num_classes: int):
    """The model, with weights; a ValueError where their classifier is not one of `num_classes` classes."""
    model = mmvssm.create_model(args.name, num_classes=num_classes)
    if args.pretrained:
        source = weights.fetch(args.name) if args.pretrained is True else args.pretrained
        if mmvssm.load_weights(model, source).expected_missing:
            raise ValueError(f'{source} tells another number of classes apart than the {num_classes} of {args.data}.')
    return model.eval().to(args.device)


@torch.inference_mode()
def evaluate(model, loader, args) -> tuple[float, float, int]:
    """Top-1 and top-5 in per cent, and the number of images."""
    hits, count = torch.zeros(2), 0
    bar = tqdm(loader, unit='batch')
    for images, labels in bar:
        with torch.autocast(args.device.split(':')[0], torch.bfloat16, enabled=args.amp):
            logits = model(images.to(args.device)).float().cpu()
        scores = accuracy(logits, labels, topk=(1, min(5, logits.shape[1])))
        hits, count = hits + torch.stack(scores) * len(labels), count + len(labels)
        bar.set_postfix_str(f'top-1 {hits[0] / count:.2f}, top-5 {hits[1] / count:.2f}')
    return *(hits / count).tolist(), count


def main(argv=None) -> int:
    args = parse_args(argv)
    try:
        folder, num_classes = find_classes(args.data)
        model = build(args, num_classes)
        dataset = create_dataset('', root=str(folder))
    except (ValueError, RuntimeError) as error:  # timm's reader raises the latter where there are no images
        print(error, file=sys.stderr)
        return 1
    config = resolve_data_config({'img_size': args.img_size}, model=model)
    used = {key: config[key] for key in ('input_size', 'interpolation', 'mean', 'std', 'crop_pct')}
    loader = create_loader(
        dataset,
        batch_size=args.batch_size,
        use_prefetcher=False,
        num_workers=args.workers,
        persistent_workers=False,
        **used,
    )
    top1, top5, count = evaluate(model, loader, args)
    print(f'{args.name}: top-1 {top1:.2f}, top-5 {top5:.2f} on {count} images of {args.img_size} pixels')
    if args.pretrained is True:
        print('published: ' + ', '.join(f'{k} {v}' for k, v in weights.default_checkpoint(args.name).metrics.items()))
    return 0


if __name__ == '__main__':
    sys.exit(main())
