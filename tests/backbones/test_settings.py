"""Every constructor argument of every family, and of its config entry: what is wrong is named before anything is built.

The wrong values of a field are those of `WRONG`, which has an entry for every field that a family takes, and those of
`TOGETHER`, where one argument does not go with another.
"""

import copy
import inspect
import math
import pickle
import pydoc
import re
from collections.abc import Callable

import numpy as np
import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.model import BaseModule
from torch import nn

import mmvssm
from mmvssm import registry
from mmvssm.backbones import FAMILIES, Family, HierarchicalBackbone, Variant
from mmvssm.backbones.localvmamba import LocalVMamba
from mmvssm.backbones.vim import Vim
from mmvssm.backbones.vmamba import VMamba
from mmvssm.settings import Int, checked, short

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
    candidates=[7, 'h', [], [7], ['h', 'x'], ['h', 'h'], [['h', 'v']], True, dict(h=1)],
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
VMAMBA = dict(WRONG, d_conv=[*WRONG['d_conv'], 2, 4])

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
        (dict(dims=(8, 8, 8, 1)), 'dims'),
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


FAMILY = pytest.mark.parametrize('family', FAMILIES.values(), ids=lambda family: family.cls.__name__)


@FAMILY
def test_every_field_has_wrong_values(family):
    assert [field for field in family.arguments if field not in WRONG] == []


def test_config_fields_have_wrong_values():
    own = inspect.signature(registry.ConfigBackbone).parameters
    assert {name for name in own if name != 'kwargs'} == set(CONFIG)


@pytest.mark.parametrize(
    'build',
    [
        lambda: Vim(48, 4, d_state=65),
        lambda: mmvssm.create_model('test_vim', d_state=65),
        lambda: timm.create_model('test_vim', d_state=65),
        lambda: registry.build(dict(type='Vim', arch=dict(d_state=65))),
    ],
    ids=['class', 'create_model', 'timm', 'numbers in a config'],
)
def test_every_way_in_is_watched(build, monkeypatch):
    is_named(build, 'd_state', monkeypatch)


def test_a_subclass_is_watched_too():
    class Wide(BaseModule, Vim):
        def __init__(self, pyramid, **common):
            Vim.__init__(self, d_state=65, **common)

    with pytest.raises(ValueError, match='rope=1 is not supported; allowed: True, False'):
        Wide(None, rope=1)
    with pytest.raises(ValueError, match=r'd_state=65 is not supported; allowed: 1 to 64 \(int\)'):
        Wide(None)


def test_unknown_and_missing_arguments():
    with pytest.raises(TypeError, match=r"VMamba got an unknown argument 'd_states'; allowed: depths, .*out_norms"):
        VMamba(d_states=3)
    with pytest.raises(TypeError, match='directions'):
        LocalVMamba()
    with pytest.raises(TypeError, match="unknown field 'd_states'"):
        registry.build(dict(type='VMamba', arch='test_vmamba', d_states=3, d_state=65))
    for own in ('out_indices', 'with_cp', 'arch'):
        with pytest.raises(TypeError, match=f'arch got {own!r}; allowed: .*, {own} beside arch'):
            registry.build(dict(type='VMamba', arch={own: None}))


class Declared(HierarchicalBackbone):
    settings = dict(window=Int(1, 16))

    def __init__(self, window: int = 7, **common):
        super().__init__(**common)


class Forgetful(HierarchicalBackbone):
    def __init__(self, window: int = 7, **common):
        super().__init__(**common)


def family_of(cls: type) -> Family:
    return Family(cls, prefix='', checkpoint_filter_fn=lambda state, model: state, variants={'one': Variant('')})


def test_a_family_with_a_field_that_has_no_setting_cannot_be_defined():
    with pytest.raises(TypeError, match=r"Forgetful: the argument 'window' has no setting; .* Forgetful\.settings"):
        family_of(Forgetful)
    with pytest.raises(ValueError, match=r'window=17 is not supported; allowed: 1 to 16 \(int\)'):
        family_of(Declared).build('one', window=17)
    with pytest.raises(TypeError, match="the argument 'size' has no setting"):

        class Part:
            @checked()
            def __init__(self, size: int): ...


def as_numpy(value):
    """What a calculation might give in place of a number, and lists for tuples."""
    if isinstance(value, bool):
        return np.bool_(value)
    if isinstance(value, int | float):
        return np.int64(value) if isinstance(value, int) else np.float64(value)
    return [as_numpy(one) for one in value] if isinstance(value, list | tuple) else value


@FAMILY
def test_numpy_and_lists_are_as_good(family):
    defaults = {name: p.default for name, p in inspect.signature(family.cls).parameters.items() if name != 'directions'}
    numbers = {**defaults, **family.variants[micro(family)].numbers}
    with torch.device('meta'):
        plain, calculated = family.cls(**numbers), family.cls(**{name: as_numpy(v) for name, v in numbers.items()})
    assert str(plain) == str(calculated)
    assert {k: v.shape for k, v in plain.state_dict().items()} == {
        k: v.shape for k, v in calculated.state_dict().items()
    }
    assert type(calculated.drop_path_rate) is float
    assert type(calculated.num_classes) is int


def test_an_array_is_a_list():
    with torch.device('meta'):
        assert len(VMamba(depths=np.array([1, 0, 2, 1]), dims=8).layers) == 4


@pytest.mark.parametrize('name', mmvssm.list_models())
def test_every_variant_is_good_as_classifier_and_in_a_config(name):
    family = mmvssm.backbones.family_of(name)
    with torch.device('meta'):
        assert registry.build(dict(type=family.cls.__name__, arch=name, frozen_stages=0, with_cp=True)).variant == name


def test_lazy_objects_in_numbers(tmp_path):
    path = tmp_path / 'pure.py'
    lines = ['from mmengine.config import read_base', 'from mmvssm.scans import rows', '']
    lines.append("model = dict(type='mmvssm.LocalVMamba', arch=dict(directions=[[rows, 'h']], depths=(1,), dims=8))")
    path.write_text('\n'.join(lines))
    assert registry.build(Config.fromfile(path).model).layers[0].blocks[0].op.directions[1] == 'h'


@FAMILY
def test_classes_and_models_stay_ordinary(family):
    with torch.device('meta'):
        model = family.build(micro(family))
    assert 'out_indices' in inspect.signature(family.cls).parameters
    assert 'common' in inspect.signature(family.cls.__init__).parameters
    assert f'class {family.cls.__name__}(' in pydoc.render_doc(family.cls, renderer=pydoc.plaintext)
    assert type(copy.deepcopy(model)) is type(pickle.loads(pickle.dumps(model))) is family.cls


@pytest.mark.parametrize('value', [list(range(1000)), torch.zeros(9, 9), 'x\ny' * 99], ids=['list', 'tensor', 'text'])
def test_a_long_value_is_cut(value):
    assert len(short(value)) == 80
    assert '\n' not in short(value)
