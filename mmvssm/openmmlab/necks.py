"""Necks that make a pyramid of a plain backbone's single-stride maps, as config entries.

`neck=dict(type='mmvssm.RescalePyramid', in_channels=192)` after Vim, ViL or LocalVim for UperNet;
`neck=dict(type='mmvssm.SimplePyramid', in_channels=192, out_channels=256)` for detectors.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from mmengine.registry import MODELS as ROOT
from torch import Tensor, nn

from mmvssm.registry import MODELS
from mmvssm.settings import Config, Each, Either, Int, Number, OneOf, OrNone, check_choice, checked, refuse

INIT_CFG = OrNone(Either(Config(), Each(Config())))


def register(cls: type) -> type:
    """Known to mmengine's root registry by the class name, and under the prefix `mmvssm.`."""
    ROOT.register_module(module=cls)
    MODELS.register_module(module=cls)
    return cls


def upscale(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    """A learned doubling of the map's side."""
    return nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2)


@register
class RescalePyramid(BaseModule):
    """Four maps of one stride -> strides 4, 8, 16, 32; each level from its own map, width kept.

    BEiT's rescaling (arXiv 2106.08254), the neck of Vim's and ViL's UperNets and mmsegmentation's `Feature2Pyramid`.
    From stride 16 the levels are two transposed convolutions, one, the map itself, and a maximum over 2 x 2; from
    stride 8 one transposed convolution, the map itself, and maxima over 2 x 2 and 4 x 4. Odd sides are floored.

    Args:
        in_channels: width of the maps; a sequence where they differ.
        patch_size: 16 or 8, the stride of the maps.
        norm_cfg: norm between the two transposed convolutions.
        init_cfg: mmengine's; by default the layers start as torch makes them, as published.

    Raises:
        ValueError: another patch_size, or another number of widths.
    """

    @checked(
        in_channels=Either(Int(1), Each(Int(1), 4)),
        patch_size=OneOf(16, 8),
        norm_cfg=OrNone(Config()),
        init_cfg=INIT_CFG,
    )
    def __init__(
        self,
        in_channels: int | Sequence[int],
        patch_size: int = 16,
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        widths = [in_channels] * 4 if isinstance(in_channels, int) else list(in_channels)
        if patch_size == 16:
            norm = build_norm_layer(norm_cfg or dict(type='BN'), widths[0])[1]
            self.fpn1 = nn.Sequential(upscale(widths[0], widths[0]), norm, nn.GELU(), upscale(widths[0], widths[0]))
            self.fpn2: nn.Module = nn.Sequential(upscale(widths[1], widths[1]))
            self.fpn3: nn.Module = nn.Identity()
            self.fpn4: nn.Module = nn.MaxPool2d(2, 2)
        else:
            self.fpn1 = nn.Sequential(upscale(widths[0], widths[0]))
            self.fpn2 = nn.Identity()
            self.fpn3 = nn.Sequential(nn.MaxPool2d(2, 2))
            self.fpn4 = nn.Sequential(nn.MaxPool2d(4, 4))

    def forward(self, maps: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Four maps, or one that feeds all levels.

        Raises:
            ValueError: another number of maps.
        """
        maps = [maps] if isinstance(maps, Tensor) else list(maps)
        if len(maps) not in (1, 4):
            raise ValueError(f'RescalePyramid takes 1 or 4 maps, got {len(maps)}; set out_indices of the backbone')
        maps = maps * 4 if len(maps) == 1 else maps
        return tuple(level(x) for level, x in zip((self.fpn1, self.fpn2, self.fpn3, self.fpn4), maps))


@register
class ChannelNorm(nn.Module):
    """LayerNorm over the channels of (B, C, H, W)."""

    @checked(num_channels=Int(1), eps=Number(0, above=True))
    def __init__(self, num_channels: int, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps).permute(
            0, 3, 1, 2
        )


@register
class NormalConv2d(nn.Conv2d):
    """A convolution whose weights start normal with deviation `std` and whose bias starts at 0, for `conv_cfg`.

    mmcv gives convolutions Kaiming's start, whatever a head's `init_cfg` says, unless they have `init_weights`.
    """

    @checked(std=Number(0))
    def __init__(self, *args: Any, std: float = 0.02, **kwargs: Any):
        self.std = std
        super().__init__(*args, **kwargs)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=self.std)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    init_weights = reset_parameters


class NormedConv(nn.Conv2d):
    """A convolution without bias that keeps the size, then ChannelNorm; key `norm` under the convolution's own name."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int):
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = ChannelNorm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(super().forward(x))


@register
class SimplePyramid(BaseModule):
    """ViTDet's simple feature pyramid (arXiv 2203.16527): every level from the last map alone, no top-down path.

    Args:
        in_channels: width of the backbone's map.
        out_channels: width of every level.
        stride: of the backbone's map.
        scales: side of each level over the map's; 4, 2, 1 or 0.5, largest first.
        num_outs: levels returned; beyond `scales` each takes every second pixel of the one before.
        init_cfg: mmengine's; by default the layers start as torch makes them.

    Raises:
        ValueError: another scale, fewer num_outs than scales, a wrong value of any other argument.
    """

    @checked(
        in_channels=Int(1),
        out_channels=Int(1),
        stride=Int(1),
        scales=Each(Number()),
        num_outs=Int(1),
        init_cfg=INIT_CFG,
    )
    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        stride: int = 16,
        scales: Sequence[float] = (4, 2, 1, 0.5),
        num_outs: int = 5,
        init_cfg: dict | None = None,
    ):
        for scale in scales:
            check_choice('scales', scale, (4, 2, 1, 0.5))
        if in_channels < max(scales):
            refuse('in_channels', in_channels, f'{max(scales)} or more beside scales={scales}')
        if not len(scales) <= num_outs:
            refuse('num_outs', num_outs, f'{len(scales)} or more, the number of scales')
        super().__init__(init_cfg)
        self.num_outs = num_outs
        self.levels: list[str] = []
        for scale in scales:
            # the published names count levels by log2 of their stride
            self.levels.append(f'simfp_{int(math.log2(stride / scale))}')
            self.add_module(self.levels[-1], self._level(scale, in_channels, out_channels))

    @staticmethod
    def _level(scale: float, dim: int, out_channels: int) -> nn.Sequential:
        parts: dict[float, tuple[list[nn.Module], int]] = {
            4: ([upscale(dim, dim // 2), ChannelNorm(dim // 2), nn.GELU(), upscale(dim // 2, dim // 4)], dim // 4),
            2: ([upscale(dim, dim // 2)], dim // 2),
            1: ([], dim),
            0.5: ([nn.MaxPool2d(2, 2)], dim),
        }
        rescale, width = parts[scale]
        return nn.Sequential(*rescale, NormedConv(width, out_channels, 1), NormedConv(out_channels, out_channels, 3))

    def forward(self, maps: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The backbone's maps, of which the last is used -> `num_outs` levels, finest first."""
        x = maps if isinstance(maps, Tensor) else maps[-1]
        outs = [getattr(self, name)(x) for name in self.levels]
        while len(outs) < self.num_outs:
            outs.append(outs[-1][:, :, ::2, ::2])
        return tuple(out.contiguous() for out in outs)  # mmdet's DETRs flatten them by `view`


Rules = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]  # (pattern, replacement), applied in turn


def _vitdet_name(match: re.Match[str]) -> str:
    """`lateral_convs` are the 1x1, `fpn_convs` the 3x3 convolutions of levels 0 .. 3 (strides 4 .. 32)."""
    kind, level, leaf = match[1], int(match[2]), match[3]
    place = (4, 1, 0, 1)[level] + (kind == 'fpn')
    return f'simfp_{level + 2}.{place}.' + ('' if leaf == 'conv' else 'norm.')


# names of the same layers in ViL's training code, in mmsegmentation's Feature2Pyramid, and in mmdetection's ViTDet
_RENAMES: dict[type[nn.Module], Rules] = {
    RescalePyramid: [
        (r'^(?:postprocessor\.)?processors\.0\.(?=weight|bias)', 'fpn1.0.'),  # of patches of 8
        (r'^(?:postprocessor\.)?processors\.0\.', 'fpn1.'),
        (r'^(?:postprocessor\.)?processors\.1\.', 'fpn2.0.'),
        (r'^upsample_4x\.', 'fpn1.'),
        (r'^upsample_2x\.', 'fpn2.'),
    ],
    SimplePyramid: [
        (r'^fpn1\.', 'simfp_2.'),
        (r'^fpn2\.', 'simfp_3.'),
        (r'^(lateral|fpn)_convs\.(\d)\.(conv|norm_layer|norm|ln)\.', _vitdet_name),
    ],
}


def neck_state_dict(state_dict: dict[str, Tensor], neck: nn.Module) -> dict[str, Tensor]:
    """The part of a published model's bare state dict that belongs to `neck`, under this project's names.

    Reads Vim's segmentation (`backbone.fpn1...`) and detection (`backbone.simfp_2...`) models, ViL's `postprocessor`,
    mmsegmentation's `Feature2Pyramid` and mmdetection's ViTDet pyramid. Load it with `neck.load_state_dict`.
    """
    return {name: state_dict[key] for key, name in neck_names(state_dict, neck).items()}


def neck_names(keys: Iterable[str], neck: nn.Module) -> dict[str, str]:
    """Those keys of a published model that belong to `neck` -> their names in it."""
    own, found = neck.state_dict(), dict[str, str]()
    table = next(table for cls, table in _RENAMES.items() if isinstance(neck, cls))
    for key in keys:
        name = renamed(re.sub(r'^(module\.|backbone\.|neck\.)+', '', key), table)
        if name in own:
            found[key] = name
    return found


def renamed(name: str, rules: Rules) -> str:
    """A name after each of the rules."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
