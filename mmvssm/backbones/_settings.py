"""What the constructor arguments of all families may be: one table, checked before anything of a model is built.

`Backbone` puts the check before every constructor. A class whose argument differs says so in its attribute `settings`,
and so does a family outside of the package for arguments that are not here; what an argument may be beside others is in
the class's `relate`. A family with an argument that has no entry cannot be defined.
"""

from types import SimpleNamespace

from mmvssm.settings import (
    Anything,
    Each,
    Either,
    Flag,
    Int,
    Number,
    OneOf,
    OrNone,
    Path,
    Setting,
    is_list,
    refuse,
)

from ._layers import ACTIVATIONS

MAX_STATES = 64  # what the scan's kernels hold
RATE = Number(0, 1)
WIDTH = COUNT = Int(1)
POSITIVE = Number(0, above=True)
SIZE = Either(COUNT, Each(COUNT, 2))

SETTINGS: dict[str, Setting] = dict(
    act_layer=OneOf(*ACTIVATIONS),
    arch=Anything(),  # one of the family's names, or arguments: see `mmvssm.registry`
    candidates=Anything(),  # see `mmvssm.backbones._search.relate_candidates`
    class_token=OneOf(None, 'middle', 'first', 'both'),
    conv_bias=Flag(),
    conv_kernel_size=COUNT,
    conv_kind=OneOf('2d', 'causal1d'),
    d_conv=COUNT,
    d_state=Int(1, MAX_STATES),
    depth=COUNT,
    depths=Each(Int(0)),  # a stage may be a downsampling alone
    dims=Either(WIDTH, Each(WIDTH)),
    directions=Anything(),  # see `mmvssm.scans.layer_orders`
    divide_out=Flag(),
    downsample_version=OneOf('v1', 'v2', 'v3'),
    drop_path_decay=Flag(),
    drop_path_rate=Number(0, 1, below=True),
    drop_rate=RATE,
    dt_init=OneOf('published', 'mamba'),
    dt_rank=Either(OneOf('auto'), COUNT),
    embed_dim=WIDTH,
    embed_dims=Each(WIDTH),
    expand=POSITIVE,
    expansion=COUNT,
    features=OneOf('mixer', 'residual'),
    features_only=Flag(),
    forward_type=Anything(),  # a grammar: see `parse_forward_type`
    frozen_stages=Int(-1),
    global_pool=Anything(),  # one of the class's `pools`
    gmlp=Flag(),
    head_norm=Flag(),
    head_norm_eps=POSITIVE,
    img_size=SIZE,
    in_chans=COUNT,
    init_cfg=Anything(),  # see `mmvssm.registry`
    init_weights=OneOf('original', 'original-fixed'),
    keep_class_token=Flag(),
    last_feature=OneOf('mixer', 'add', 'norm'),
    layer_scale=OrNone(Number()),
    mlp_act_layer=OneOf(*ACTIVATIONS),
    mlp_drop_rate=RATE,
    mlp_ratio=Number(0),
    mlp_ratios=Each(POSITIVE),
    norm_bias=Flag(),
    norm_eps=POSITIVE,
    norm_eval=Flag(),
    num_classes=Int(0),
    num_heads=COUNT,
    out_indices=OrNone(Either(COUNT, Each(Int()))),
    out_norms=Flag(),
    output_stride=OrNone(COUNT),
    patch_norm=Flag(),
    patch_size=OneOf(1, 2, 4, 8, 16, 32),  # of the families whose maps halve from stage to stage
    pos_drop_rate=RATE,
    pos_embed=Flag(),
    post_norm=Flag(),
    pretrained=OrNone(Path()),
    pretrained_grid=COUNT,
    proj_bias=Flag(),
    qkv_block_size=COUNT,
    residual_in_fp32=Flag(),
    rms_norm=Flag(),
    rope=Flag(),
    rope_residual=Flag(),
    scan_orders=Anything(),  # see `mmvssm.scans.layer_orders`
    spectral_resize=OneOf('linear', 'trig', 'index'),
    spectral_sizes=Each(Each(COUNT, 2)),
    ssm_drop_rate=RATE,
    ssm_init=OneOf('v0', 'v1', 'v2'),
    ssm_ratio=POSITIVE,
    stem_hidden_dim=WIDTH,
    stem_version=OneOf('v1', 'v2'),
    stride=OrNone(Int(1, 64)),
    token_label=Flag(),
    transform=OneOf('dct', 'hartley'),
    with_cp=Flag(),
)


def settings_of(cls: type) -> dict[str, Setting]:
    """The table, with what a class and its bases say otherwise."""
    table = dict(SETTINGS)
    for base in reversed(cls.__mro__):
        if 'pools' in vars(base):
            table['global_pool'] = OneOf(*vars(base)['pools'])
        table.update(vars(base).get('settings', {}))
    return table


def check_lengths(fields: SimpleNamespace, length: int, *names: str) -> None:
    """Raise a ValueError unless each of these lists has an entry for each of the `length` stages; numbers are none."""
    for name in names:
        value = getattr(fields, name)
        if is_list(value) and len(value) != length:
            refuse(name, value, f'{length} entries beside depths={fields.depths}')


def check_image_size(fields: SimpleNamespace) -> None:
    """Raise a ValueError where a patch is larger than the image."""
    size, patch_size = fields.img_size, fields.patch_size
    if min(size if is_list(size) else (size,)) < patch_size:
        refuse('img_size', size, f'{patch_size} or more beside patch_size={patch_size}')


def check_inner(fields: SimpleNamespace, name: str, width: int) -> None:
    """Raise a ValueError where a ratio leaves nothing of a width."""
    ratio = getattr(fields, name)
    if int(ratio * width) < 1:
        refuse(name, ratio, f'1 / {width} or more beside a width of {width}')


def check_divides(fields: SimpleNamespace, name: str, width: int) -> None:
    """Raise a ValueError unless the field divides a width."""
    if width % getattr(fields, name):
        refuse(name, getattr(fields, name), f'what divides the width {width}')
