"""Heracles (*A Hybrid SSM-Transformer Model for High-Resolution Image and Time-Series Analysis*, arXiv 2403.18063).

Two stages that filter half of the channels in the spectrum and convolve the other half, then two of self-attention; a
class token joins after the last stage. The published code filters the cosine spectrum, the paper's text speaks of
the Hartley transform; both are here. No weights and no dense-prediction code were ever released.
"""

import math
import re
from collections.abc import Sequence
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from timm.layers import DropPath, Mlp, trunc_normal_
from torch import Tensor, nn

from mmvssm.kernels import resize_spectral_weight, spectral_filter
from mmvssm.settings import Each, Int, refuse
from mmvssm.weights import CheckpointError

from ._backbone import drop_path_rates, own_copy
from ._graph import one_node
from ._layers import LayerNorm, attention, nchw
from ._registry import Family, Variant
from ._settings import check_lengths
from ._stages import HierarchicalBackbone, relate_stages
from ._timm import register

POOLS = ('token', '')
EPS = 1e-6  # of every LayerNorm but those of the stem and the downsampling


def depthwise(dim: int) -> nn.Conv2d:
    """3x3, keeping the map's size."""
    return nn.Conv2d(dim, dim, 3, padding=1, groups=dim)


def on_nchw(module: nn.Module, x: Tensor) -> Tensor:
    """Run a convolution on a (B, H, W, C) map."""
    return module(nchw(x)).permute(0, 2, 3, 1)


class Downsample(nn.Module):
    """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), out_dim): strided convolution and LayerNorm."""

    def __init__(self, dim: int, out_dim: int):
        super().__init__()
        self.proj = nn.Conv2d(dim, out_dim, 3, stride=2, padding=1)
        self.norm = LayerNorm(out_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(on_nchw(self.proj, x))


class Stem(nn.Module):
    """(B, in_chans, H, W) -> (B, ceil(H/4), ceil(W/4), dim): four convolutions, three with BatchNorm, and LayerNorm."""

    def __init__(self, in_chans: int, hidden: int, dim: int):
        super().__init__()
        layers = []
        for channels, kernel, stride in ((in_chans, 7, 2), (hidden, 3, 1), (hidden, 3, 1)):
            conv = nn.Conv2d(channels, hidden, kernel, stride, padding=kernel // 2, bias=False)
            layers += [conv, nn.BatchNorm2d(hidden), nn.ReLU()]
        self.conv = nn.Sequential(*layers)
        self.proj = nn.Conv2d(hidden, dim, 3, stride=2, padding=1)
        self.norm = LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(self.conv(x)).permute(0, 2, 3, 1))


class LocalBranch(nn.Module):
    """The depthwise convolution that the paper calls the local state-space model."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv = depthwise(dim)

    def forward(self, x: Tensor) -> Tensor:
        return on_nchw(self.conv, x)


@one_node
class SpectralMixer(nn.Module):
    """First half of the channels: 3x3 convolution; second half: spectral filter. The outputs alternate.

    Args:
        size: (h, w) of the spectral weights; maps of other sizes get them resized by frequency.
        transform: 'dct' (published code) or 'hartley'.
        resize: how, see :func:`mmvssm.kernels.resize_spectral_weight`.
    """

    def __init__(self, dim: int, size: tuple[int, int], transform: str, resize: str):
        super().__init__()
        self.transform, self.resize = transform, resize
        self.weight = nn.Parameter(0.02 * torch.randn(dim // 2, *size))
        self.local_ssm = LocalBranch(dim // 2)

    def forward(self, x: Tensor) -> Tensor:
        local, spectral = x.chunk(2, dim=-1)
        spectral = spectral_filter(spectral, self.weight, transform=self.transform, mode=self.resize)
        # x left a LayerNorm: float32 under autocast, where the published mixer's output is too
        return torch.stack([self.local_ssm(local).to(x.dtype), spectral.to(x.dtype)], dim=-1).flatten(-2)

    def extra_repr(self) -> str:
        return f'size={tuple(self.weight.shape[1:])}, transform={self.transform!r}, resize={self.resize!r}'


@one_node
class Attention(nn.Module):
    """Multi-head attention of `query` (B, M, C) over `x` (B, N, C)."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, query: Tensor, x: Tensor) -> Tensor:
        q, k, v = (self._heads(z) for z in (self.q(query), *self.kv(x).chunk(2, dim=-1)))
        out = attention(q, k, v)
        return self.proj(out.transpose(1, 2).flatten(2))

    def _heads(self, z: Tensor) -> Tensor:
        return z.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


@one_node
class SelfAttention(Attention):
    """Attention among all positions of a (B, H, W, C) map."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # keys as in the checkpoints
        tokens = x.flatten(1, 2)
        return super().forward(tokens, tokens).view(x.shape)


class DepthwiseConv(nn.Module):
    """The MLP's convolution, whose official name is `dwconv.dwconv`."""

    def __init__(self, dim: int):
        super().__init__()
        self.dwconv = depthwise(dim)

    def forward(self, x: Tensor) -> Tensor:
        return on_nchw(self.dwconv, x)


class ConvMlp(nn.Module):
    """Linear, 3x3 depthwise convolution, GELU, linear on a (B, H, W, C) map."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.dwconv = DepthwiseConv(hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.dwconv(self.fc1(x))))


class Block(nn.Module):
    """Pre-norm token mixer and MLP on a (B, H, W, C) map."""

    def __init__(self, dim: int, mixer: nn.Module, mlp_ratio: float, drop_path: float):
        super().__init__()
        self.norm1 = LayerNorm(dim, eps=EPS)
        self.attn = mixer
        self.norm2 = LayerNorm(dim, eps=EPS)
        self.mlp = ConvMlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class ClassBlock(nn.Module):
    """Class attention on (B, 1 + N, C): the first token is updated from all, the others pass."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float):
        super().__init__()
        self.norm1 = LayerNorm(dim, eps=EPS)
        self.attn = Attention(dim, num_heads)
        self.norm2 = LayerNorm(dim, eps=EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)
        token = x[:, :1] + self.attn(normed[:, :1], normed)
        token = token + self.mlp(self.norm2(token))
        return torch.cat([token, x[:, 1:]], dim=1)


class Heracles(HierarchicalBackbone):
    """Heracles (arXiv 2403.18063); classifier, or maps at strides 4, 8, 16, 32.

    Args:
        depths: blocks of each stage; the first two stages are spectral.
        embed_dims, mlp_ratios: widths and MLP widenings of the stages.
        num_heads: attention heads of each stage; those of the spectral stages are not used.
        stem_hidden_dim: width of the stem's first convolutions.
        spectral_sizes: (h, w) of the spectral weights of the first two stages, ceil(size / 4) and ceil(size / 8) of the
            training images; maps of other sizes get them resized by frequency on the fly.
        transform: 'dct' (the published code) or 'hartley' (the paper's text).
        spectral_resize: 'linear', 'trig' or 'index', see :func:`mmvssm.kernels.resize_spectral_weight`.
        token_label: a second head on every token of the last stage; logits add half of its largest (Token labelling,
            arXiv 2104.10858). :meth:`forward_token_labels` gives both heads' outputs for its loss.
        global_pool: 'token' or '' (logits per token).
        features_only: the dense-prediction form. Maps 0 to 2 are normed in the main path.
        out_norms: norm the last map too (`norm4`, which token labelling trained on these tokens).
        **common: see :class:`HierarchicalBackbone`.
    """

    pools = POOLS
    head_prefixes = ('post_network.', 'head.', 'aux_head.')
    first_conv = 'patch_embed1.conv.0'
    classifier_name = 'head'
    extra_classifiers = ('aux_head',)

    settings = dict(num_heads=Each(Int(1)))

    @classmethod
    def relate(cls, fields: SimpleNamespace) -> None:
        """An entry for each stage; halves of the spectral widths, heads of the others."""
        relate_stages(fields, 4, 'embed_dims', 'num_heads', 'mlp_ratios')
        check_lengths(fields, min(2, len(fields.depths)), 'spectral_sizes')
        if any(dim % 2 for dim in fields.embed_dims[:2]):
            refuse('embed_dims', fields.embed_dims, 'even widths in the first two stages')
        stages = list(zip(fields.embed_dims, fields.num_heads))
        attending = stages[2:] or ([] if fields.features_only else stages[-1:])  # the last one's serve the class token
        if any(dim % heads for dim, heads in attending):
            refuse('num_heads', fields.num_heads, f'what divides embed_dims={fields.embed_dims}')
        if any(int(ratio * dim) < 1 for ratio, dim in zip(fields.mlp_ratios, fields.embed_dims)):
            refuse('mlp_ratios', fields.mlp_ratios, f'1 / width or more beside embed_dims={fields.embed_dims}')

    def __init__(
        self,
        depths: Sequence[int] = (3, 4, 6, 3),
        embed_dims: Sequence[int] = (64, 128, 320, 448),
        num_heads: Sequence[int] = (2, 4, 10, 14),
        mlp_ratios: Sequence[float] = (8, 8, 4, 4),
        stem_hidden_dim: int = 32,
        spectral_sizes: Sequence[tuple[int, int]] = ((56, 56), (28, 28)),
        transform: str = 'dct',
        spectral_resize: str = 'linear',
        token_label: bool = True,
        global_pool: str = 'token',
        features_only: bool = False,
        out_norms: bool = True,
        **common,
    ):
        norms = out_norms and features_only
        super().__init__(global_pool=global_pool, features_only=features_only, out_norms=norms, **common)
        self.num_stages = len(depths)
        self.token_label = token_label
        rates = iter(drop_path_rates(self.drop_path_rate, sum(depths)))

        def mixer(stage: int) -> nn.Module:
            dim = embed_dims[stage]
            if stage < 2:
                height, width = spectral_sizes[stage]
                return SpectralMixer(dim, (height, width), transform, spectral_resize)
            return SelfAttention(dim, num_heads[stage])

        for i, dim in enumerate(embed_dims):
            stem = Stem(self.in_chans, stem_hidden_dim, dim) if i == 0 else Downsample(embed_dims[i - 1], dim)
            blocks = nn.ModuleList(Block(dim, mixer(i), mlp_ratios[i], next(rates)) for _ in range(depths[i]))
            self.add_module(f'patch_embed{i + 1}', stem)
            self.add_module(f'block{i + 1}', blocks)
            if i < self.num_stages - 1 or self.out_norms or not features_only:
                self.add_module(f'norm{i + 1}', LayerNorm(dim, eps=EPS))
        modules = [f'block{i + 1}' for i in range(self.num_stages)]
        self._finish(self._feature_table(embed_dims, modules))
        if features_only:
            self.head_prefixes = (*self.head_prefixes, *(() if self.out_norms else (f'norm{self.num_stages}.',)))
        else:
            self.head_drop = nn.Dropout(self.drop_rate)
            self.post_network = nn.ModuleList([ClassBlock(embed_dims[-1], num_heads[-1], mlp_ratios[-1])])
            # a file with the second head fits a model without it
            self.fresh_prefixes = () if token_label else ('aux_head.',)
            self.reset_classifier(self.num_classes, global_pool)
        self.apply(init_weights)
        self._prune()

    def _stage(self, name: str, i: int) -> nn.Module:
        return getattr(self, f'{name}{i + 1}')

    def _parts(self, i: int) -> tuple[nn.Module, Sequence[nn.Module]]:
        return self._stage('patch_embed', i), self._stage('block', i)

    def _cut(self, num: int) -> None:
        for i in range(num, self.num_stages):
            for module in ('patch_embed', 'block', 'norm'):
                if hasattr(self, f'{module}{i + 1}'):
                    delattr(self, f'{module}{i + 1}')
        if not self.features_only:
            self.post_network = nn.ModuleList()
            self._drop_final_norm()

    def _drop_final_norm(self) -> None:
        self.add_module(f'norm{self.num_stages}', nn.Identity())

    def stem(self, x: Tensor) -> Tensor:
        return self.patch_embed1(x)

    def run_stage(self, i: int, x: Tensor) -> Tensor:
        for block in self._stage('block', i):
            x = self._run(block, x)
        return self._stage('norm', i)(x) if i < self.num_stages - 1 else x

    def downsample(self, i: int, x: Tensor) -> Tensor:
        return self._stage('patch_embed', i + 1)(x) if i + 1 < self.num_kept else x

    def out_norm(self, i: int, x: Tensor) -> Tensor:
        return self._stage('norm', i)(x) if i == self.num_stages - 1 else x

    def final_norm(self, x: Tensor) -> Tensor:
        """(B, h, w, C) -> normed sequence of class token and tokens (B, 1 + h w, C); a feature model keeps the map."""
        if self.features_only:
            return own_copy(x)
        tokens = x.flatten(1, 2)
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)
        for block in self.post_network:
            tokens = self._run(block, tokens)
        return self._stage('norm', self.num_stages - 1)(tokens)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, 1 + N, C), normed -> logits (B, num_classes), or the class token (B, C); of all where none is pooled."""
        x = self.head_drop(x)
        token = x[:, 0] if self.global_pool else x
        if pre_logits:
            return token
        logits = self.head(token)
        if self.aux_head is None or not self.global_pool:
            return logits
        return logits + 0.5 * self.aux_head(x[:, 1:]).amax(dim=1)

    def forward_token_labels(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images -> logits of the class token (B, num_classes) and of every token (B, N, num_classes), row-major."""
        if self.aux_head is None:
            raise ValueError('token_label=False or num_classes=0: this model has no head for token labels')
        x = self.head_drop(self.forward_features(x))
        return self.head(x[:, 0]), self.aux_head(x[:, 1:])

    def make_head(self) -> None:
        """Fresh heads; the second one for token labels."""
        heads = [nn.Linear(self.num_features, self.num_classes) for _ in range(2 if self.num_classes else 0)]
        for head in map(self._like_the_stem, heads):
            init_weights(head)
        self.head = heads[0] if heads else nn.Identity()
        self.aux_head = heads[1] if heads and self.token_label else None

    def stem_items(self) -> list[nn.Module | nn.Parameter]:
        return [self.patch_embed1]

    def stage_modules(self, i: int) -> list[nn.Module]:
        names = [f'block{i + 1}', f'norm{i + 1}', *([f'patch_embed{i + 1}'] if i else [])]
        return [getattr(self, name) for name in names if hasattr(self, name)]

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """The spectral weights: gains, which no decay should pull to zero in fine-tuning."""
        return {n for n, _ in self.named_parameters() if re.fullmatch(r'block[12]\.\d+\.attn\.weight', n)}

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict:
        """Parameter groups in order of depth, for layer-wise learning-rate decay."""
        blocks = (
            [(r'^(?:patch_embed|block|norm)(\d)', None)]
            if coarse
            else [
                (r'^patch_embed([2-9])', (-1,)),
                (r'^block(\d)\.(\d+)', None),
                (r'^norm(\d)', (99999,)),
            ]
        )
        return dict(
            stem=r'^patch_embed1', blocks=[*blocks, (r'^post_network', (99990,)), (r'^(?:aux_)?head', (99999,))]
        )


def init_weights(module: nn.Module) -> None:
    """Linear: truncated normal of std 0.02; convolutions: normal, by the fan-out of a group; no biases."""
    if not isinstance(module, nn.Linear | nn.Conv2d) or module.weight.is_meta:
        return
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
    else:
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def checkpoint_filter_fn(state_dict: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Take the predecessor's (SCT) names, and spectral weights of another native size.

    Raises:
        mmvssm.weights.CheckpointError: local convolutions of a quarter of the width, as the file in the official
            repository builds them: such a model never ran.
    """
    own = {**{name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}, **model.pruned}
    out = {}
    for key, value in state_dict.items():
        key = re.sub(r'(block[12]\.\d+\.attn)\.conv\.', r'\1.local_ssm.conv.', key)
        like = own.get(key)
        gain = state_dict.get(key.removesuffix('local_ssm.conv.weight') + 'weight')
        if key.endswith('.local_ssm.conv.weight') and gain is not None and 2 * value.shape[0] == gain.shape[0]:
            raise CheckpointError(
                f'{key} has {value.shape[0]} channels, half of what works: the released model file as it stands\n'
                'builds it so and cannot run; no trained weights can have this shape'
            )
        if re.fullmatch(r'block[12]\.\d+\.attn\.weight', key) and like is not None and _resizable(value, like):
            if key in model.pruned:
                value = value.new_empty(like)
            else:
                mixer = model.get_submodule(key.removesuffix('.weight'))
                value = resize_spectral_weight(value, like[1:], mixer.transform, mixer.resize)
        out[key] = value
    return out


def _resizable(value: Tensor, like: tuple[int, ...]) -> bool:
    return value.ndim == len(like) and value.shape[0] == like[0] and tuple(value.shape) != tuple(like)


FAMILY = Family(
    Heracles,
    prefix='heracles_',
    checkpoint_filter_fn=checkpoint_filter_fn,
    variants={
        'heracles_small': Variant(
            'Heracles-C-S, 21.7 M parameters.',
            depths=(3, 4, 6, 3),
            embed_dims=(64, 128, 320, 448),
            num_heads=(2, 4, 10, 14),
            stem_hidden_dim=32,
        ),
        'heracles_base': Variant(
            'Heracles-C-B, 32.5 M parameters.',
            depths=(3, 4, 12, 3),
            embed_dims=(64, 128, 320, 512),
            num_heads=(2, 4, 10, 16),
            stem_hidden_dim=64,
        ),
        'heracles_large': Variant(
            'Heracles-C-L, 53.7 M parameters.',
            depths=(3, 6, 18, 3),
            embed_dims=(96, 192, 384, 512),
            num_heads=(3, 6, 12, 16),
            stem_hidden_dim=64,
        ),
        'heracles_huge': Variant(
            "This project's own reading of Heracles-C-H: never defined in public, but for 192 and 384 channels.",
            depths=(3, 6, 18, 3),
            embed_dims=(192, 384, 576, 768),
            num_heads=(6, 12, 18, 24),
            stem_hidden_dim=96,
        ),
        'test_heracles': Variant(
            'A micro model for tests, its spectral weights native to 64 x 64 images.',
            depths=(2, 1, 1, 1),
            embed_dims=(16, 24, 32, 40),
            num_heads=(1, 1, 2, 2),
            mlp_ratios=(4, 4, 2, 2),
            stem_hidden_dim=8,
            spectral_sizes=((16, 16), (8, 8)),
        ),
    },
)
register(FAMILY)
