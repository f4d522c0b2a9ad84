"""Vim: the official classes of github.com/hustvl/Vim, with the pyramids that its dense models have inside."""

from torch import nn

from mmvssm.backbones import family_of
from mmvssm.backbones.vim import Vim
from mmvssm.openmmlab.necks import RescalePyramid, SimplePyramid
from tests.official import POOLS, stream_arguments, take

NAMES = {
    'vim_tiny_patch16_224_bimambav2_final_pool_mean_abs_pos_embed_with_midclstok_div2': 'vim_tiny',
    'vim_tiny_patch16_stride8_224_bimambav2_final_pool_mean_abs_pos_embed_with_midclstok_div2': 'vim_tiny_stride8',
    'vim_small_patch16_224_bimambav2_final_pool_mean_abs_pos_embed_with_midclstok_div2': 'vim_small',
    'vim_small_patch16_stride8_224_bimambav2_final_pool_mean_abs_pos_embed_with_midclstok_div2': 'vim_small_stride8',
    'vim_base_patch16_224_bimambav2_final_pool_mean_abs_pos_embed_with_middle_cls_token_div2': 'vim_base',
}
ARGUMENTS = dict(
    img_size='img_size',
    patch_size='patch_size',
    stride='stride',
    depth='depth',
    embed_dim='embed_dim',
    d_state='d_state',
    channels='in_chans',
    in_chans='in_chans',
    num_classes='num_classes',
    drop_rate='pos_drop_rate',
    drop_path_rate='drop_path_rate',
    norm_epsilon='norm_eps',
    rms_norm='rms_norm',
    residual_in_fp32='residual_in_fp32',
    pt_hw_seq_len='pretrained_grid',
    final_pool_type='global_pool',
    if_abs_pos_embed='pos_embed',
    if_rope='rope',
    if_rope_residual='rope_residual',
    if_divide_out='divide_out',
    init_layer_scale='layer_scale',
)
FIXED = dict(
    fused_add_norm=(),
    bimamba_type=('v2',),
    if_bimamba=(False,),
    if_bidirectional=(False,),
    flip_img_sequences_ratio=(-1, -1.0),
    initializer_cfg=(None,),
    ssm_cfg=(None, {}),
    ft_seq_len=(),
    if_devide_out=(),
    pretrained=(None, ''),
)
LAST = dict(none='mixer', add='add')
LAST['add & norm'] = 'norm'


class WithPyramid(Vim):
    """A feature model and its pyramid in one, as the official dense classes are."""

    def __init__(self, pyramid: nn.Module | None, norm_is_idle: bool, **kwargs):
        super().__init__(features_only=True, **kwargs)
        self.pyramid = pyramid
        self.norm_is_idle = norm_is_idle  # the official class keeps norm_f in its state dict without using it

    def forward(self, x):
        maps = super().forward(x)
        return maps if self.pyramid is None else self.pyramid(maps)


def own_name(key: str) -> str:
    key = key.removeprefix('net.')
    return f'pyramid.{key}' if key.startswith(('fpn', 'simfp_')) else key


def to_own_names(state_dict: dict, model: Vim) -> dict:
    renamed = {own_name(key): value for key, value in state_dict.items()}
    if getattr(model, 'norm_is_idle', False):
        renamed = {key: value for key, value in renamed.items() if not key.startswith('norm_f.')}
    return renamed


def parameter(model: nn.Module, key: str, attribute: str):
    return getattr(model.get_parameter(own_name(key)), attribute)


def classifier(kwargs: dict, base: dict) -> Vim:
    tokens = {name: kwargs.pop(name) for name in ('if_cls_token', 'use_middle_cls_token')}
    double = kwargs.pop('use_double_cls_token', False)
    place = 'both' if double else 'middle' if tokens['use_middle_cls_token'] else 'first'
    kwargs = {**base, **kwargs_of(kwargs)}
    if not tokens['if_cls_token']:
        return Vim(**kwargs, class_token=None)
    return Vim(**{**kwargs, 'global_pool': 'avg'}, class_token=place)  # the official class ignores the pooling here


def kwargs_of(kwargs: dict) -> dict:
    out = take(kwargs, ARGUMENTS, FIXED)
    out['global_pool'] = POOLS[out['global_pool']]
    return out


def dense(kwargs: dict, pyramid_name: str | None) -> WithPyramid:
    for name in ('if_cls_token', 'use_middle_cls_token', 'use_double_cls_token'):
        kwargs.pop(name, None)  # the class deletes its class token
    out_indices = kwargs.pop('out_indices', None)
    last, residual = kwargs.pop('last_layer_process', 'none'), kwargs.pop('use_residual_as_feature', False)
    has_pyramid = kwargs.pop('if_fpn', True)
    dim, depth, patch = kwargs['embed_dim'], kwargs['depth'], kwargs.get('patch_size', 16)
    if pyramid_name == 'rescale':
        pyramid = RescalePyramid(dim, patch_size=patch) if has_pyramid else None
    else:
        residual, out_indices = True, (depth - 1,)
        pyramid = SimplePyramid(dim, 256, stride=patch) if pyramid_name == 'simple' else None
    features = 'residual' if residual else 'mixer'
    return WithPyramid(
        pyramid,
        norm_is_idle=not (residual and last == 'add & norm'),
        features=features,
        last_feature=LAST[last],
        out_indices=out_indices,
        **kwargs_of(kwargs),
    )


DENSE = {'VisionMambaSeg': 'rescale', 'VisionMambaDet': None, 'VisionMambaDet+SimpleFeaturePyramid': 'simple'}


def build(case: dict) -> Vim:
    middle = dict(use_middle_cls_token=True, embed_dim=192, depth=24)
    if case['official_class'] in DENSE:
        return dense(stream_arguments(case, middle), DENSE[case['official_class']])
    if case['official_class'] != 'VisionMamba':
        raise NotImplementedError(f'official class {case["official_class"]}')
    if case['variant'] in NAMES:
        name = NAMES[case['variant']]
        numbers = family_of(name).variants[name].numbers
        return classifier(stream_arguments(case, dict(use_middle_cls_token=True)), numbers)
    return classifier(stream_arguments(case, middle), {})
