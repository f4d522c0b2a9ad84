"""Classifiers under mmengine's Runner, with timm's pipeline: what ImageNet needs that mmdet and mmseg have not.

mmpretrain has all of this, but no release that installs beside today's torch.
"""

from pathlib import Path
from typing import Any

import timm.data
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS as ROOT_DATASETS
from mmengine.registry import METRICS as ROOT_METRICS
from mmengine.registry import Registry
from timm.data import Mixup, create_transform
from timm.loss import SoftTargetCrossEntropy
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmvssm.backbones import FAMILIES, Backbone, family_named
from mmvssm.registry import MODELS
from mmvssm.settings import Anything, Flag, Int, Number, OneOf, OrNone, Text, checked
from mmvssm.settings import Path as PathSetting

DATASETS = Registry('mmvssm dataset', parent=ROOT_DATASETS, scope='mmvssm')
METRICS = Registry('mmvssm metric', parent=ROOT_METRICS, scope='mmvssm')


@MODELS.register_module()
class ImageClassifier(BaseModel):
    """A backbone with its own classifier.

    Args:
        backbone: config of one of this project's backbones, `type` and `arch` or its arguments.
        num_classes: of the classifier.
        label_smoothing: share of the target that all classes have.
        mixup, cutmix: alpha of the mixing of images (arXiv 1710.09412, 1905.04899), 0 for none; batches are even then.
        data_preprocessor: as of mmengine's BaseModel.
    """

    @checked(
        backbone=Anything(),
        num_classes=Int(2),
        label_smoothing=Number(0, 1, below=True),
        mixup=Number(0),
        cutmix=Number(0),
        data_preprocessor=Anything(),
    )
    def __init__(
        self,
        backbone: dict[str, Any],
        num_classes: int = 1000,
        label_smoothing: float = 0.1,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        data_preprocessor: dict | nn.Module | None = None,
    ):
        super().__init__(data_preprocessor=data_preprocessor)
        self.backbone = _with_classifier(dict(backbone), num_classes)
        options = dict(label_smoothing=label_smoothing, num_classes=num_classes)
        self.mix = Mixup(mixup, cutmix, switch_prob=0.5, **options) if mixup or cutmix else None
        self.soft_loss = SoftTargetCrossEntropy()
        self.loss = nn.CrossEntropyLoss(label_smoothing=label_smoothing)

    def forward(self, inputs: Tensor, labels: Tensor | None = None, mode: str = 'tensor') -> Any:
        """Images (B, 3, H, W), normalised, -> logits (B, classes); a dict with the loss; the five likeliest classes."""
        if mode == 'loss':
            if self.mix is not None and len(inputs) % 2 == 0:
                inputs, targets = self.mix(inputs, labels)
                return dict(loss=self.soft_loss(self.backbone(inputs), targets))
            return dict(loss=self.loss(self.backbone(inputs), labels))
        logits = self.backbone(inputs)
        return logits if mode == 'tensor' else list(logits.topk(min(5, logits.shape[1])).indices.cpu())


def _with_classifier(given: dict[str, Any], num_classes: int) -> Backbone:
    name = str(given.pop('type')).rpartition('.')[2]
    given.pop('init_cfg', None)  # a classifier is trained from scratch here
    family = family_named(name)
    if family is None:
        allowed = ', '.join(sorted(family.cls.__name__ for family in FAMILIES.values()))
        raise ValueError(f'backbone.type={name!r} is not supported; allowed: {allowed}')
    arch = given.pop('arch', None)
    if arch is None:
        return family.cls(num_classes=num_classes, **given)
    if arch not in family.arches:
        raise ValueError(f'backbone.arch={arch!r} is not supported; allowed: {", ".join(family.arches)}')
    return family.build(family.arches[arch], num_classes=num_classes, **given)


@DATASETS.register_module()
class ImageFolder(Dataset):
    """Images in a folder a class, through timm's transforms.

    Args:
        root: folder with a folder for each class, whose names, sorted, are the classes.
        training: augment.
        size: pixels of a side.
        auto_augment: timm's name of a policy, None for none.
        random_erasing: probability.
        crop: share of the shorter side that is kept when not training.
        interpolation: 'bicubic' or 'bilinear'.

    Raises:
        FileNotFoundError: there are no images.
    """

    @checked(
        root=PathSetting(),
        training=Flag(),
        size=Int(1),
        auto_augment=OrNone(Text()),
        random_erasing=Number(0, 1),
        crop=Number(0, 1, above=True),
        interpolation=OneOf('bicubic', 'bilinear'),
    )
    def __init__(
        self,
        root: str | Path,
        training: bool = False,
        size: int = 224,
        auto_augment: str | None = None,
        random_erasing: float = 0.0,
        crop: float = 0.875,
        interpolation: str = 'bicubic',
    ):
        augmentation = dict(auto_augment=auto_augment, re_prob=random_erasing, re_mode='pixel') if training else {}
        transform = create_transform(size, training, interpolation=interpolation, crop_pct=crop, **augmentation)
        try:
            self._images = timm.data.ImageDataset(str(root), transform=transform)
        except RuntimeError as error:
            raise FileNotFoundError(f'{root}: no images in a folder for each class ({error})') from None
        self.metainfo = dict(classes=tuple(sorted(self._images.reader.class_to_idx)))

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, label = self._images[index]
        return dict(inputs=image, labels=torch.tensor(label))


@METRICS.register_module()
class TopAccuracy(BaseMetric):
    """Shares of images whose class is the likeliest (`accuracy/top1`), or one of the five likeliest (`top5`)."""

    default_prefix = 'accuracy'

    def process(self, data_batch: dict[str, Any], data_samples: list[Tensor]) -> None:
        """Note where each image's class stands."""
        for label, likeliest in zip(data_batch['labels'], data_samples):
            hits = likeliest == label
            self.results.append((bool(hits[0]), bool(hits.any())))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Both in per cent."""
        return {f'top{k}': 100 * sum(hit[i] for hit in results) / len(results) for i, k in enumerate((1, 5))}
