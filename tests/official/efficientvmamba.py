"""EfficientVMamba: `EfficientVSSM` and `Backbone_EfficientVSSM` of github.com/TerryPei/EfficientVMamba."""

from mmvssm.backbones.efficientvmamba import EfficientVMamba
from tests.official import take

RENAMES = dict(
    patch_size='patch_size',
    in_chans='in_chans',
    num_classes='num_classes',
    depths='depths',
    dims='dims',
    ssm_ratio='ssm_ratio',
    mlp_ratio='mlp_ratio',
    drop_path_rate='drop_path_rate',
    patch_norm='patch_norm',
    downsample_version='downsample_version',
    out_indices='out_indices',
)
# the released classes use these as they are, or swallow them (state size 16, rank ceil(C / 16), plain stem)
FIXED = dict(
    step_size=(2,),
    norm_layer=('ln', 'LN', 'LayerNorm', 'nn.LayerNorm'),
    use_checkpoint=(True, False),
    pretrained=(None, ''),
    **dict.fromkeys(('d_state', 'dt_rank', 'ssm_d_state', 'ssm_dt_rank', 'ssm_rank_ratio', 'ssm_act_layer'), ()),
    **dict.fromkeys(('ssm_conv', 'ssm_conv_bias', 'ssm_drop_rate', 'ssm_simple_init', 'forward_type'), ()),
    **dict.fromkeys(('mlp_act_layer', 'mlp_drop_rate', 'patchembed_version', 'window_size'), ()),
    **dict.fromkeys(('drop_rate', 'attn_drop_rate', 'shared_ssm', 'softmax_version'), ()),
)
OFFICIAL_DEFAULTS = dict(depths=(2, 2, 9, 2), dims=96, mlp_ratio=4.0, downsample_version='v2', drop_path_rate=0.1)


def build(case: dict) -> EfficientVMamba:
    kwargs = {**OFFICIAL_DEFAULTS, **take(case['kwargs'], RENAMES, FIXED)}
    if kwargs['downsample_version'] != 'v2':
        kwargs['downsample_version'] = 'v1'  # any other word means patch merging there
    if case['official_class'] == 'EfficientVSSM':
        return EfficientVMamba(**kwargs)
    if case['official_class'] == 'Backbone_EfficientVSSM':
        return EfficientVMamba(**kwargs, features_only=True, out_norms=True)
    raise NotImplementedError(f'official class {case["official_class"]}')
