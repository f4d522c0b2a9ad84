"""Heracles: the class `Heracles` and the functions `sct_s`, `sct_b`, `sct_l` of github.com/badripatro/heracles."""

from mmvssm.backbones.heracles import FAMILY, Heracles
from tests.official import take

RENAMES = dict(
    in_chans='in_chans',
    num_classes='num_classes',
    stem_hidden_dim='stem_hidden_dim',
    embed_dims='embed_dims',
    num_heads='num_heads',
    mlp_ratios='mlp_ratios',
    drop_path_rate='drop_path_rate',
    depths='depths',
    token_label='token_label',
    spectral_sizes='spectral_sizes',
)
# `spectral_resized_to` tells the sizes that the case's input leads to; nothing uses `sr_ratios`
FIXED = dict(spectral_resized_to=(), sr_ratios=(), num_stages=(4,))
NAMES = dict(sct_s='heracles_small', sct_b='heracles_base', sct_l='heracles_large')


def build(case: dict) -> Heracles:
    """`variant` names the official function; features are asked for by the outputs, as no official class has them."""
    function = case['official_class'] if case['official_class'] in NAMES else case['variant']
    if case['official_class'] not in ('Heracles', *NAMES) or function not in ('Heracles', *NAMES):
        raise NotImplementedError(f'official class {case["official_class"]}, variant {case["variant"]}')
    kwargs = take(case['kwargs'], RENAMES, FIXED)
    numbers = FAMILY.variants[NAMES[function]].numbers if function in NAMES else {}
    return Heracles(**{**numbers, **kwargs}, features_only='feat0' in case['outputs'])
