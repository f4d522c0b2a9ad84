"""LocalMamba: the official classes of github.com/hunto/LocalMamba.

`VSSM` and `Backbone_LocalVSSM` are LocalVMamba, `VisionMamba` and `Backbone_LocalVisionMamba` LocalVim.
"""

from mmvssm.backbones.localvim import LocalVim
from mmvssm.backbones.localvmamba import LocalVMamba
from tests.official import POOLS, stream_arguments, take

LOCALVMAMBA = dict(
    dims='dims',
    depths='depths',
    d_state='d_state',
    ssm_d_state='d_state',
    ssm_ratio='ssm_ratio',
    ssm_dt_rank='dt_rank',
    drop_path_rate='drop_path_rate',
    drop_rate='drop_rate',
    directions='directions',
    out_indices='out_indices',
    num_classes='num_classes',
    in_chans='in_chans',
    patch_size='patch_size',
)
# arguments that the released classes swallow without effect
SWALLOWED = dict(mlp_ratio=(0, 0.0), downsample_version=(), patchembed_version=(), pretrained=(None, ''))


def localvmamba(kwargs: dict, **extra) -> LocalVMamba:
    return LocalVMamba(**{'directions': None, **take(kwargs, LOCALVMAMBA, SWALLOWED)}, **extra)


LOCALVIM = dict(
    patch_size='patch_size',
    embed_dim='embed_dim',
    depth='depth',
    channels='in_chans',
    num_classes='num_classes',
    img_size='img_size',
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
    directions='directions',
    out_indices='out_indices',
)
WITHOUT_EFFECT = dict(
    fused_add_norm=(),
    bimamba_type=(),
    ssm_cfg=(),
    initializer_cfg=(None,),
    if_bidirectional=(False,),
    pretrained=(None, ''),
    pretrained_ckpt=(None, ''),
)


def localvim(case: dict, **extra) -> LocalVim:
    kwargs = stream_arguments(case, defaults=dict(directions=None, embed_dim=192, depth=24))
    if_cls_token, middle = kwargs.pop('if_cls_token'), kwargs.pop('use_middle_cls_token')
    if if_cls_token and not middle:
        raise NotImplementedError('a class token in front fails in the official scan')
    kwargs = take(kwargs, LOCALVIM, WITHOUT_EFFECT)
    # with a class token the official class ignores the pooling
    kwargs['global_pool'] = 'avg' if if_cls_token else POOLS[kwargs['global_pool']]
    return LocalVim(class_token='middle' if if_cls_token else None, **kwargs, **extra)


BUILDERS = {
    'VSSM': lambda case: localvmamba(case['kwargs']),
    'Backbone_LocalVSSM': lambda case: localvmamba(case['kwargs'], features_only=True, out_norms=True),
    'VisionMamba': localvim,
    'Backbone_LocalVisionMamba': lambda case: localvim(case, features_only=True, out_norms=True),
}


def build(case: dict):
    if case['official_class'] not in BUILDERS:
        raise NotImplementedError(f'official class {case["official_class"]}')
    return BUILDERS[case['official_class']](case)
