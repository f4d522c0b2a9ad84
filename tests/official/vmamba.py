"""VMamba: `VSSM` (classifier) and `Backbone_VSSM` (dense prediction) of github.com/MzeroMiko/VMamba."""

from mmvssm.backbones.vmamba import VMamba
from tests.official import take

RENAMES = dict(
    patch_size='patch_size',
    in_chans='in_chans',
    num_classes='num_classes',
    depths='depths',
    dims='dims',
    ssm_d_state='d_state',
    ssm_ratio='ssm_ratio',
    ssm_dt_rank='dt_rank',
    ssm_act_layer='act_layer',
    ssm_conv='d_conv',
    ssm_conv_bias='conv_bias',
    ssm_drop_rate='ssm_drop_rate',
    ssm_init='ssm_init',
    forward_type='forward_type',
    mlp_ratio='mlp_ratio',
    mlp_act_layer='mlp_act_layer',
    mlp_drop_rate='mlp_drop_rate',
    gmlp='gmlp',
    drop_path_rate='drop_path_rate',
    patch_norm='patch_norm',
    downsample_version='downsample_version',
    patchembed_version='stem_version',
    posembed='pos_embed',
    imgsize='img_size',
    out_indices='out_indices',
)
FIXED = dict(norm_layer=('ln', 'ln2d', 'LN', 'LN2D'), use_checkpoint=(True, False), pretrained=(None, ''))


def build(case: dict) -> VMamba:
    kwargs = take(case['kwargs'], RENAMES, FIXED)
    if case['official_class'] == 'VSSM':
        return VMamba(**kwargs)
    if case['official_class'] == 'Backbone_VSSM':
        return VMamba(**kwargs, features_only=True, out_norms=True)
    raise NotImplementedError(f'official class {case["official_class"]}')
