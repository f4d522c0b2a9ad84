"""LocalMamba: the official classes of github.com/hunto/LocalMamba; `VSSM` and `Backbone_LocalVSSM` are LocalVMamba."""

from mmvssm.backbones.localvmamba import LocalVMamba
from tests.official import take

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


BUILDERS = {
    'VSSM': localvmamba,
    'Backbone_LocalVSSM': lambda kwargs: localvmamba(kwargs, features_only=True, out_norms=True),
}


def build(case: dict):
    if case['official_class'] not in BUILDERS:
        raise NotImplementedError(f'official class {case["official_class"]}')
    return BUILDERS[case['official_class']](case['kwargs'])
