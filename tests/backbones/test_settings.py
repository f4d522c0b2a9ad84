"""Every constructor argument of every family, and of its config entry: what is wrong is named before anything is built.

The wrong values of a field are those of `WRONG`, which has an entry for every field that a family takes, and those of
`TOGETHER`, where one argument does not go with another.
"""

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
from torch import nn

from mmvssm import registry
from mmvssm.backbones import FAMILIES, Family

NAN, INF = math.nan, math.inf
NO_INT = [True, 1.5, 4.0, '3', [4], NAN, np.float64(2)]
POSITIVE = [*NO_INT, 0, -1, None]
NO_NUMBER = [True, '0.1', [0.1], NAN, INF, None, -0.1, 10**400]
RATE = [*NO_NUMBER, 1.5, np.float32(2)]
ABOVE_ZERO = [*NO_NUMBER, 0, 0.0]
FLAG = ['perhaps', 1, 0, None, [True]]
WORD = ['no such word', True, 3, ['v1'], np.zeros(3)]
ORDERS = [7, 'h', [], [['h']] * 99, [[7] * 9], True, dict(h=1)]
NO_LIST = ['wide', 3.5, True, None, dict(a=1), {1, 2, 3, 4}]
STAGES = [*NO_LIST, 4, (1, 1, -1, 1), (1, 1, 1.0, 1), (1, 1, True, 1), (1, 1, '1', 1), (1, 1, None, 1), ()]
IMAGE_SIZE = [64.0, '64', 0, -64, True, (64, 64, 64), (64,), (64, 0.5), (64, True), None, NAN]

WRONG = dict(
    act_layer=[*WORD, None],
    class_token=[*WORD, 'last', ''],
    conv_bias=FLAG,
    conv_kernel_size=[*POSITIVE, 4],
    conv_kind=[*WORD, None],
    d_conv=[*NO_INT, None, -7],
    d_state=[*POSITIVE, 65, 10**9],
    depth=POSITIVE,
    depths=[*STAGES, (1, 1, 1)],
    dims=[*(value for value in STAGES if value != 4), 0, -8, 16.0, (8, 16), (8, 16, 0, 32)],
    directions=[value for value in ORDERS if value is not None],
    divide_out=FLAG,
    downsample_version=[*WORD, 'v4', None],
    drop_path_decay=FLAG,
    drop_path_rate=[*RATE, 'x', 1.0, (0.1, 0.2)],
    drop_rate=RATE,
    dt_init=[*WORD, None],
    dt_rank=['foo', 0, -1, 2.5, True, None, [2]],
    embed_dim=POSITIVE,
    embed_dims=[*STAGES, (8, 16), (0, 8, 8, 8)],
    expand=ABOVE_ZERO,
    expansion=POSITIVE,
    features=[*WORD, 'none', None],
    features_only=FLAG,
    forward_type=['v9', 'v05_nozz', '', 5, True, None, ['v05']],
    global_pool=[*WORD, 'mean', None],
    gmlp=FLAG,
    head_norm=FLAG,
    head_norm_eps=ABOVE_ZERO,
    img_size=IMAGE_SIZE,
    in_chans=POSITIVE,
    init_weights=[*WORD, 'zeros', None],
    keep_class_token=FLAG,
    last_feature=[*WORD, None],
    layer_scale=['1', True, NAN, INF, [0.1]],
    mlp_act_layer=[*WORD, None],
    mlp_drop_rate=RATE,
    mlp_ratio=[*NO_NUMBER, -1],
    mlp_ratios=[*NO_LIST, 4, (4, 4), (4, 4, 0, 4), (4, 4, NAN, 4), (4, 4, '4', 4), (4, 4, True, 4)],
    norm_bias=FLAG,
    norm_eps=ABOVE_ZERO,
    num_classes=[*NO_INT, -1, None],
    num_heads=POSITIVE,
    out_indices=[True, 'all', 1.5, (0, 9), (-99,), (1, 0), (0, 0), (), (0.5,), (True,), 0, -1, 99, NAN, {0, 1}],
    out_norms=FLAG,
    output_stride=[*NO_INT, 0, -8, 12, 999],
    patch_norm=FLAG,
    patch_size=[*POSITIVE, 1000, (16, 16)],
    pos_drop_rate=RATE,
    pos_embed=FLAG,
    post_norm=FLAG,
    pretrained_grid=POSITIVE,
    proj_bias=FLAG,
    qkv_block_size=POSITIVE,
    residual_in_fp32=FLAG,
    rms_norm=FLAG,
    rope=FLAG,
    rope_residual=FLAG,
    scan_orders=ORDERS,
    spectral_resize=[*WORD, None],
    spectral_sizes=[16, ((16, 16),), ((16, 16), (8,)), ((16, 16), 8), ((16, 16), (8, 0)), ((16, 16), (8, 8.0)), None],
    ssm_drop_rate=RATE,
    ssm_init=[*WORD, None],
    ssm_ratio=ABOVE_ZERO,
    stem_hidden_dim=POSITIVE,
    stem_version=[*WORD, None],
    stride=[*(value for value in POSITIVE if value is not None), 65],
    token_label=FLAG,
    transform=[*WORD, None],
)
HERACLES = dict(
    WRONG,
    num_heads=[*STAGES, (1, 1), (1, 1, 0, 2)],
)
VMAMBA = dict(WRONG, img_size=[*IMAGE_SIZE, (64, 64)], d_conv=[*WRONG['d_conv'], 2, 4])

# family -> (arguments, the field that the error names)
TOGETHER: dict[str, list[tuple[dict, str]]] = dict(
    VMamba=[
        (dict(depths=(1, 1, 1), dims=(8, 8, 8, 8)), 'dims'),
        (dict(stem_version='v2', patch_size=16), 'patch_size'),
        (dict(pos_embed=True, patch_size=8, img_size=4), 'img_size'),
        (dict(output_stride=16, downsample_version='v2'), 'output_stride'),
        (dict(scan_orders=['h'] * 4, forward_type='v052dc'), 'scan_orders'),
        (dict(ssm_ratio=0.01), 'ssm_ratio'),
        (dict(mlp_ratio=0.01), 'mlp_ratio'),
        (dict(dims=1), 'dims'),
        (dict(out_norms=True), 'out_norms'),
    ],
    LocalVMamba=[
        (dict(depths=(1, 1, 1, 1)), 'directions'),
        (dict(dims=(8, 16)), 'dims'),
        (dict(ssm_ratio=0.01), 'ssm_ratio'),
        (dict(out_norms=True), 'out_norms'),
    ],
    EfficientVMamba=[
        (dict(downsample_version='v3'), 'downsample_version'),
        (dict(output_stride=16, downsample_version='v2'), 'output_stride'),
        (dict(scan_orders=['h']), 'scan_orders'),
        (dict(ssm_ratio=0.01), 'ssm_ratio'),
        (dict(mlp_ratio=0.01), 'mlp_ratio'),
        (dict(out_norms=True), 'out_norms'),
    ],
    Heracles=[
        (dict(num_heads=(1, 1, 3, 2)), 'num_heads'),
        (dict(embed_dims=(15, 24, 32, 40)), 'embed_dims'),
        (dict(mlp_ratios=(0.01, 4, 4, 4)), 'mlp_ratios'),
        (dict(depths=(1, 1)), 'embed_dims'),
        (dict(output_stride=2), 'output_stride'),
    ],
    VisionLSTM=[
        (dict(num_heads=5), 'num_heads'),
        (dict(qkv_block_size=5), 'qkv_block_size'),
        (dict(stride=17), 'stride'),
        (dict(patch_size=32, img_size=16), 'img_size'),
        (dict(features='normed', features_only=True, out_indices=(1,)), 'out_indices'),
        (dict(conv_kind='2d', conv_kernel_size=4), 'conv_kernel_size'),
        (dict(out_norms=True), 'out_norms'),
    ],
    Vim=[
        (dict(embed_dim=47), 'embed_dim'),
        (dict(embed_dim=50, rope=True), 'embed_dim'),
        (dict(stride=17), 'stride'),
        (dict(patch_size=32, img_size=16), 'img_size'),
        (dict(expand=0.001), 'expand'),
        (dict(scan_orders=['h', 'v'], class_token='both'), 'scan_orders'),
        (dict(depth=5, scan_orders=[['h', 'v']] * 4), 'scan_orders'),
        (dict(out_norms=True), 'out_norms'),
    ],
    LocalVim=[
        (dict(class_token='first'), 'class_token'),
        (dict(embed_dim=34), 'embed_dim'),
        (dict(depth=5), 'directions'),
        (dict(patch_size=32, img_size=16), 'img_size'),
        (dict(expand=0.001), 'expand'),
        (dict(out_norms=True), 'out_norms'),
    ],
)

PRETRAINED = dict(type='Pretrained', checkpoint='x.pth')
CONFIG = dict(
    arch=['tinyy', 7, True, ['test_vim'], np.zeros(2)],
    out_indices=WRONG['out_indices'],
    out_norms=FLAG,
    frozen_stages=[True, 'all', 99, -2, 1.0, None, [1], NAN],
    norm_eval=FLAG,
    with_cp=FLAG,
    init_cfg=['x.pth', 3, True, [], {}, dict(type='Kaiming'), dict(type='Pretrained'), dict(PRETRAINED, checkpoint=3)],
    pretrained=[3, True, [], PRETRAINED],
)


def micro(family: Family) -> str:
    return next(name for name in family.variants if name.startswith('test_'))


def wrong_of(family: Family) -> dict[str, list]:
    return {'Heracles': HERACLES, 'VMamba': VMAMBA}.get(family.cls.__name__, WRONG)


def shown(value) -> str:
    return re.sub(r'\s+', ' ', repr(value))[:40]


def single_cases() -> list:
    cases = []
    for family in FAMILIES.values():
        for field in family.arguments:
            for value in wrong_of(family).get(field, []):
                arguments = {field: value}
                if field == 'out_indices':
                    arguments['features_only'] = True
                cases.append(pytest.param(family, arguments, field, id=f'{family.cls.__name__}-{field}={shown(value)}'))
    return cases


def joint_cases() -> list:
    families = {family.cls.__name__: family for family in FAMILIES.values()}
    return [
        pytest.param(families[name], arguments, field, id=f'{name}-{shown(arguments)}')
        for name, cases in TOGETHER.items()
        for arguments, field in cases
    ]


def config_cases() -> list:
    return [
        pytest.param(family, {field: value}, field, id=f'{family.cls.__name__}-{field}={shown(value)}')
        for family in FAMILIES.values()
        for field, values in CONFIG.items()
        for value in values
    ]


def is_named(build: Callable[[], object], field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raised before the first module is begun, in a line that names the field and what is allowed."""
    built = []
    monkeypatch.setattr(nn.Module, '__init__', lambda self, *args, **kwargs: built.append(type(self)))
    with pytest.raises((ValueError, TypeError)) as caught:
        build()
    message = str(caught.value)
    assert not built
    assert '\n' not in message
    assert re.search(rf'\b{field}\b', message)
    assert 'allowed: ' in message
    assert len(message) < 600


@pytest.mark.parametrize(('family', 'arguments', 'field'), [*single_cases(), *joint_cases()])
def test_what_is_wrong_is_named_before_anything_is_built(family, arguments, field, monkeypatch):
    is_named(lambda: family.build(micro(family), **arguments), field, monkeypatch)


@pytest.mark.parametrize(('family', 'arguments', 'field'), config_cases())
def test_so_it_is_in_a_config(family, arguments, field, monkeypatch):
    entry = {'type': family.cls.__name__, 'arch': micro(family), **arguments}
    is_named(lambda: registry.build(entry), field, monkeypatch)


@pytest.mark.parametrize('family', FAMILIES.values(), ids=lambda family: family.cls.__name__)
def test_every_field_has_wrong_values(family):
    assert [field for field in family.arguments if field not in WRONG] == []
