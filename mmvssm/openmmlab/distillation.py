"""Feature distillation: a backbone learns the maps of a frozen teacher of timm's, on images without labels."""

from collections.abc import Sequence
from difflib import get_close_matches
from textwrap import shorten
from typing import Any

import timm
import torch
from huggingface_hub import constants
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torch.nn import functional as F

from mmvssm.backbones import list_models
from mmvssm.errors import UsageError
from mmvssm.openmmlab.classification import METRICS
from mmvssm.registry import MODELS
from mmvssm.settings import Anything, Config, Each, Flag, Int, checked, refuse
from mmvssm.weights import CheckpointError
from mmvssm.weights.download import offline


class Teacher:
    """A model of timm's, frozen, whose weights are fetched when it is first asked.

    No module: it has no part in the state, the parameters, the training mode and the copies of the model that holds it.

    Args:
        model_name: as `timm.create_model` takes it.
        pretrained: fetch its weights.
        **options: others of `timm.create_model`; `pretrained_cfg_overlay=dict(file=PATH)` is a file of one's own.

    Raises:
        ValueError: timm has no such model, or it takes no such options, or gives no maps.
    """

    def __init__(self, model_name: str, pretrained: bool = False, **options: Any):
        for name in ('features_only', 'out_indices', 'num_classes'):
            if name in options:
                refuse(f'teacher.{name}', options[name], 'nothing: `pairs` say which maps are wanted, no class is')
        # this project's files may be of a detector, without classifier; timm's fit to the last key with theirs
        self._ours = model_name.partition('.')[0] in list_models()
        own = dict(features_only=True) if self._ours else {}
        self._options, self._pretrained = dict(options, model_name=model_name, **own), pretrained
        self._model = self._frozen(self._create())
        table = self._model.feature_info
        self.channels = [one['num_chs'] for one in (table.info if self._ours else table)]
        described = self._model.pretrained_cfg
        self._scale = [a / b for a, b in zip(IMAGENET_DEFAULT_STD, described['std'])]
        self._shift = [(a - b) / s for a, b, s in zip(IMAGENET_DEFAULT_MEAN, described['mean'], described['std'])]

    def __deepcopy__(self, memo: dict) -> 'Teacher':
        return self

    def load(self) -> None:
        """Fetch the weights, once.

        Raises:
            UsageError: they are not to be had, or fit another model.
        """
        if not self._pretrained:
            return
        name = self._options['model_name']
        if offline():  # which huggingface_hub reads once, by its own name
            constants.HF_HUB_OFFLINE = True
        try:
            self._model, self._pretrained = self._frozen(timm.create_model(pretrained=True, **self._options)), False
        except (OSError, RuntimeError, CheckpointError) as error:
            reason = shorten(str(error), 200) or type(error).__name__
            raise UsageError(
                f'the weights of the teacher, {name}, cannot be had: {reason}\n'
                'a file with them: --cfg-options model.teacher.pretrained_cfg_overlay.file=PATH'
            ) from error

    @torch.no_grad()
    def maps(self, images: Tensor, indices: Sequence[int]) -> list[Tensor]:
        """Images (B, 3, H, W), normalised as ImageNet's are -> the maps (B, C, h, w) of ascending `indices`."""
        self.load()
        scale, shift = (images.new_tensor(values).view(1, 3, 1, 1) for values in (self._scale, self._shift))
        model = self._model.to(images.device)
        images = images * scale + shift
        if self._ours:  # after the out-norms, if there are
            maps = model(images)
            return [maps[i] for i in indices]
        # counted from the last: older releases of timm have ConvNeXt's stem before its stages
        counted = [i - len(self.channels) for i in indices]
        return model.forward_intermediates(images, indices=counted, intermediates_only=True, output_fmt='NCHW')

    def _create(self) -> nn.Module:
        name = self._options['model_name']
        try:
            with torch.device('cpu'):  # whatever the model around it is built on
                model = timm.create_model(**self._options)
        except RuntimeError as error:
            if 'Unknown model' not in str(error):
                raise
            near = get_close_matches(name.partition('.')[0], timm.list_models(), n=5) or ['convnext_tiny']
            refuse('teacher.model_name', name, f'timm.list_models(), such as {", ".join(near)}')
        except TypeError as error:
            raise ValueError(f'teacher: {name} does not take these options: {error}') from error
        if not hasattr(model, 'forward_intermediates'):
            refuse('teacher.model_name', name, 'models that have forward_intermediates')
        return model

    def _frozen(self, model: nn.Module) -> nn.Module:
        return model.eval().requires_grad_(False)


@MODELS.register_module()
class Distiller(BaseModel):
    """A backbone, and for each pair of maps a projection (1 x 1) to the channels of the teacher.

    The loss of a pair is one minus the cosine of the projected and the teacher's features, averaged over positions; of
    two grids the larger is resized to the smaller, bilinearly. The loss is the mean of the pairs. Each channel of the
    teacher's is brought to mean 0 and variance 1 before (those of the batch in training, running ones otherwise), since
    what all positions share outweighs what tells them apart: a constant reaches cosines of 0.9. The backbone's maps are
    those of the out-norms, as a neck gets them. Checkpoints hold backbone, projections and running statistics, and not
    the teacher: a detector or segmentor takes one as its backbone's `init_cfg`.

    Args:
        backbone: config of one of this project's backbones.
        teacher: arguments of `timm.create_model`, `model_name` and `pretrained` among them, see :class:`Teacher`.
        pairs: (map of the backbone, map of the teacher) each; -1 is the last. The backbone's are those that it returns,
            the teacher's all that it has: stages, or blocks of a plain one, as its `forward_intermediates` counts them.
        standardise: False for the teacher's features as they are.
        data_preprocessor: as of mmengine's BaseModel.

    Raises:
        ValueError: no such teacher, or a pair of which one has no such map.
    """

    @checked(
        backbone=Config(),
        teacher=Config(),
        pairs=Each(Each(Int(), length=2)),
        standardise=Flag(),
        data_preprocessor=Anything(),
    )
    def __init__(
        self,
        backbone: dict[str, Any],
        teacher: dict[str, Any],
        pairs: Sequence[tuple[int, int]] = ((-1, -1),),
        standardise: bool = True,
        data_preprocessor: dict | nn.Module | None = None,
    ):
        super().__init__(data_preprocessor=data_preprocessor)
        if 'model_name' not in teacher:
            refuse('teacher', teacher, "a dict with 'model_name', one of timm.list_models()")
        self.backbone = MODELS.build(backbone)
        self.teacher = Teacher(**teacher)
        own, theirs = self.backbone.out_channels, self.teacher.channels
        self.pairs = [(_place('backbone', i, own), _place('teacher', j, theirs)) for i, j in pairs]
        self.projections = nn.ModuleList(nn.Conv2d(own[i], theirs[j], 1) for i, j in self.pairs)
        self.standards = nn.ModuleList(
            nn.BatchNorm2d(theirs[j], affine=False) if standardise else nn.Identity() for _, j in self.pairs
        )

    def init_weights(self) -> None:
        """Load the backbone's `init_cfg` and the teacher's weights."""
        super().init_weights()
        self.teacher.load()

    def extract_feat(self, inputs: Tensor) -> Sequence[Tensor]:
        """The backbone's maps, as detectors name them."""
        return self.backbone(inputs)

    def cosines(self, inputs: Tensor) -> Tensor:
        """Images (B, 3, H, W), normalised as ImageNet's are -> (B, pairs), the mean cosine over positions."""
        indices = sorted({j for _, j in self.pairs})
        theirs = dict(zip(indices, self.teacher.maps(inputs, indices)))
        own = self.extract_feat(inputs)
        with torch.autocast(inputs.device.type, enabled=False):
            return torch.stack([self._cosine(n, own[i], theirs[j]) for n, (i, j) in enumerate(self.pairs)], dim=1)

    def _cosine(self, pair: int, own: Tensor, wanted: Tensor) -> Tensor:
        """Maps (B, C, h, w) and (B, C', h', w') -> (B,), in float32."""
        own, wanted = self.projections[pair](own.float()), self.standards[pair](wanted.float())
        grid = tuple(min(a, b) for a, b in zip(own.shape[2:], wanted.shape[2:]))
        return F.cosine_similarity(_resized(own, grid), _resized(wanted, grid), dim=1).mean(dim=(1, 2))

    def forward(self, inputs: Tensor, mode: str = 'tensor') -> Any:
        """The backbone's maps; or a dict with the loss and the cosine of each pair; or the cosine of each image.

        inputs: (B, 3, H, W), normalised as ImageNet's are.
        """
        if mode == 'tensor':
            return self.extract_feat(inputs)
        cosines = self.cosines(inputs)
        if mode == 'predict':
            return list(cosines.mean(dim=1).cpu())
        named = {f'cosine_{n}': value.detach() for n, value in enumerate(cosines.mean(dim=0))}
        return dict(loss=1 - cosines.mean(), **named)


def _place(what: str, index: int, maps: Sequence[int]) -> int:
    if not -len(maps) <= index < len(maps):
        refuse('pairs', index, f'{-len(maps)} to {len(maps) - 1} of the {what}, which has {len(maps)} maps')
    return index % len(maps)


def _resized(m: Tensor, grid: tuple[int, ...]) -> Tensor:
    return m if m.shape[2:] == grid else F.interpolate(m, grid, mode='bilinear', align_corners=False)


@METRICS.register_module()
class MeanCosine(BaseMetric):
    """The cosine of a :class:`Distiller`'s features and its teacher's, the mean of images (`distillation/cosine`)."""

    default_prefix = 'distillation'

    def process(self, data_batch: Any, data_samples: Sequence[Tensor]) -> None:
        """Note each image's."""
        self.results.extend(float(cosine) for cosine in data_samples)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Their mean."""
        return dict(cosine=sum(results) / len(results))
