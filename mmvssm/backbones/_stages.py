"""What the four-stage families share: a stem, stages at halving resolutions, maps at strides 4, 8, 16, 32.

:class:`HierarchicalBackbone` is the skeleton; :class:`VSSBackbone` has VMamba's names of modules, which LocalVMamba and
EfficientVMamba keep.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from mmvssm.settings import check_int, refuse

from ._backbone import Backbone, own_copy, resolve_indices
from ._layers import ClassifierHead, LayerNorm, PatchMerging, ToNCHW, ToNHWC, init_linear
from ._settings import check_lengths


def stage_dims(dims: int | Sequence[int], num_stages: int) -> list[int]:
    """Widths of the stages; an int is the first one, doubled from stage to stage."""
    return [dims * 2**i for i in range(num_stages)] if isinstance(dims, int) else list(dims)


def relate_stages(fields: SimpleNamespace, stem_stride: int, *lists: str) -> None:
    """Raise a ValueError where arguments of a model of stages do not go together.

    Args:
        fields: all arguments.
        stem_stride: pixels a position of the first map is wide.
        lists: names of the arguments that have an entry for each stage.
    """
    num_stages = len(fields.depths)
    check_lengths(fields, num_stages, *lists)
    resolve_indices(fields.out_indices, num_stages)
    strides = stage_strides(stem_stride, num_stages)
    if fields.output_stride is not None:
        check_int('output_stride', fields.output_stride, strides)
        if fields.output_stride < strides[-1] and getattr(fields, 'downsample_version', 'v1') == 'v2':
            allowed = f"None, {strides[-1]} beside downsample_version='v2', any stride beside 'v1', 'v3'"
            refuse('output_stride', fields.output_stride, allowed)


def stage_strides(stem_stride: int, num_stages: int) -> list[int]:
    """Strides that halve the map from stage to stage."""
    return [stem_stride * 2**i for i in range(num_stages)]


def make_downsample(version: str, dim: int, out_dim: int) -> nn.Module:
    """(B, H, W, C) -> (B, H/2, W/2, out_dim): 'v1' patch merging, 'v2' 2x2 and 'v3' 3x3 strided convolution."""
    if version == 'v1':
        return PatchMerging(dim, out_dim)
    kernel, padding = (2, 0) if version == 'v2' else (3, 1)
    conv = nn.Conv2d(dim, out_dim, kernel, stride=2, padding=padding)
    return nn.Sequential(ToNCHW(), conv, ToNHWC(), LayerNorm(out_dim))


class VSSBlock(nn.Module):
    """`x + op(norm(x))`, then `x + mlp(norm2(x))` where there is an MLP; (B, H, W, C) throughout."""

    def __init__(self, dim: int, op: nn.Module, drop_path: float, mlp: nn.Module | None = None):
        super().__init__()
        self.norm = LayerNorm(dim)
        self.op = op
        self.drop_path = DropPath(drop_path)
        self.norm2 = LayerNorm(dim) if mlp is not None else None
        self.mlp = mlp

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.op(self.norm(x)))
        if self.mlp is not None and self.norm2 is not None:
            x = x + self.drop_path(self.mlp(self.norm2(x)))
        return x


class HierarchicalBackbone(Backbone):
    """A stem and stages at strides 4, 8, 16, 32; maps are channels-last (B, H, W, C) between modules.

    A subclass implements `stem(x)`, `run_stage(i, x)`, `downsample(i, x)` (out of stage i), `final_norm(x)`,
    `stage_modules(i)`, `_parts(i)` and, for the out-norms, `out_norm(i, x)`.

    Args:
        output_stride: the largest stride of the maps, such as 16; later stages keep the map's size, their convolutions
            dilated (scans as they are). None: as published.
        **common: see :class:`Backbone`.
    """

    output_fmt = 'NHWC'
    num_stages = 4

    def __init__(self, *, output_stride: int | None = None, **common):
        super().__init__(**common)
        self.output_stride = output_stride

    def _feature_table(self, dims: Sequence[int], modules: Sequence[str], stem_stride: int = 4) -> list[dict]:
        """`feature_info`; and stages beyond `output_stride` do not shrink the map, but dilate their convolutions."""
        output_stride = self.output_stride
        strides = stage_strides(stem_stride, len(dims))
        if output_stride is not None:
            check_int('output_stride', output_stride, strides)
            for i, stride in enumerate(strides):
                if stride > output_stride:
                    self._keep_size(i, stride // output_stride)
        strides = [min(stride, output_stride or stride) for stride in strides]
        return [dict(num_chs=c, reduction=r, module=module) for c, r, module in zip(dims, strides, modules)]

    def _keep_size(self, i: int, dilation: int) -> None:
        """Take the stride out of the way into stage i; its convolutions reach as far over the image as before."""
        downsampling, blocks = self._parts(i)
        for module, reach in [(downsampling, dilation // 2), *((block, dilation) for block in blocks)]:
            for layer in module.modules():
                if isinstance(layer, nn.Conv2d):
                    if layer.kernel_size[0] % 2 == 0:
                        raise ValueError("output_stride needs odd convolutions; allowed: downsample_version 'v1', 'v3'")
                    layer.stride, layer.dilation = (1, 1), (reach, reach)
                    layer.padding = tuple(reach * (k // 2) for k in layer.kernel_size)
                elif isinstance(layer, PatchMerging):
                    layer.stride, layer.dilation = 1, reach

    def _parts(self, i: int) -> tuple[nn.Module, Sequence[nn.Module]]:
        """The downsampling into stage i, counted from 1, and the stage's blocks."""
        raise NotImplementedError

    def _least_size(self) -> int:
        """The smallest side that leaves every convolution on the way through the stages a pixel."""
        least = 1
        for conv in reversed([m for m in self.modules() if isinstance(m, nn.Conv2d)]):
            reach = conv.dilation[0] * (conv.kernel_size[0] - 1)
            least = max((least - 1) * conv.stride[0] + reach + 1 - 2 * conv.padding[0], 1)
        return least

    def enter(self, x: Tensor) -> Tensor:
        return self.stem(x)

    def step(self, i: int, x: Tensor) -> Tensor:
        return self.run_stage(i, self.downsample(i - 1, x) if i else x)

    def output(self, i: int, x: Tensor) -> Tensor:
        return x

    def as_nchw(self, output: Tensor, x: Tensor) -> Tensor:
        return output.permute(0, 3, 1, 2)

    def leave(self, x: Tensor) -> Tensor:
        return self.final_norm(x)

    def stem_items(self) -> list[nn.Module | nn.Parameter]:
        """What acts before the first stage."""
        return [self.patch_embed]

    def stage_groups(self) -> Iterator[list[nn.Module]]:
        for i in range(self.num_stages):
            yield self.stage_modules(i) if i < self.num_kept else []


class VSSBackbone(HierarchicalBackbone):
    """Four stages of VSS blocks; VMamba and LocalVMamba differ in the blocks, stem and downsampling."""

    undecayed = ('A_logs', 'Ds', 'dt_projs_bias')
    head_prefixes: tuple[str, ...] = ('classifier.', 'pos_embed')
    fresh_prefixes = ('outnorm',)
    first_conv = 'patch_embed.0'
    classifier_name = 'classifier.head'

    def _assemble(
        self,
        stem: nn.Module,
        stages: list[list[nn.Module]],
        downsamples: list[nn.Module],
        dims: list[int],
        stem_stride: int,
    ) -> None:
        self.patch_embed = stem
        self.num_stages = len(stages)
        self.layers = nn.ModuleList(map(self._make_stage, stages, [*downsamples, nn.Identity()]))
        modules = [f'layers.{i}' for i in range(self.num_stages)]
        self._finish(self._feature_table(dims, modules, stem_stride))
        if not self.features_only:
            self.classifier = ClassifierHead(dims[-1], self.num_classes, self.global_pool, self.drop_rate)
        if self.out_norms:
            for i in self.out_indices:
                self.add_module(f'outnorm{i}', LayerNorm(dims[i]))
            others = (f'outnorm{i}.' for i in range(self.num_stages) if i not in self.out_indices)
            self.head_prefixes = (*self.head_prefixes, *others)
        self.apply(init_linear)
        self._prune()

    def _cut(self, num: int) -> None:
        self.layers = self.layers[:num]
        self.layers[-1][-1] = nn.Identity()  # the downsampling
        if not self.features_only:
            self._drop_final_norm()

    def _drop_final_norm(self) -> None:
        self.classifier.norm = nn.Identity()

    def _parts(self, i: int) -> tuple[nn.Module, Sequence[nn.Module]]:
        return self.layers[i - 1][-1], self.layers[i][:-1]

    @staticmethod
    def _make_stage(blocks: list[nn.Module], downsample: nn.Module) -> nn.Sequential:
        return nn.Sequential(OrderedDict(blocks=nn.Sequential(*blocks), downsample=downsample))

    def stem(self, x: Tensor) -> Tensor:
        return self.patch_embed(x)

    def run_stage(self, i: int, x: Tensor) -> Tensor:
        for block in self.layers[i].blocks:
            x = self._run(block, x)
        return x

    def downsample(self, i: int, x: Tensor) -> Tensor:
        return self.layers[i].downsample(x)

    def stage_modules(self, i: int) -> list[nn.Module]:
        return [self.layers[i]]

    def out_norm(self, i: int, x: Tensor) -> Tensor:
        return getattr(self, f'outnorm{i}')(x) if hasattr(self, f'outnorm{i}') else x

    def final_norm(self, x: Tensor) -> Tensor:
        return own_copy(x) if self.features_only else self.classifier.norm(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, h, w, C), normed -> logits (B, num_classes), or pooled features."""
        return self.classifier(x, pre_logits)

    def make_head(self) -> None:
        self.classifier.reset(self.num_classes, self.global_pool)
        self._like_the_stem(self.classifier.head)

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict:
        """Parameter groups in order of depth, for layer-wise learning-rate decay."""
        blocks = (
            [(r'^layers\.(\d+)', None)]
            if coarse
            else [
                (r'^layers\.(\d+)\.downsample', (99998,)),
                (r'^layers\.(\d+)\.blocks\.(\d+)', None),
            ]
        )
        return dict(stem=r'^patch_embed|^pos_embed', blocks=[*blocks, (r'^classifier|^outnorm', (99999,))])
