"""One file a family, one line a family below; importing this package registers every variant."""

from mmvssm.settings import check_choice

from . import (  # noqa: F401
    efficientvmamba,
    heracles,
    localvim,
    localvmamba,
    vil,
    vim,
    vmamba,
)
from ._backbone import Backbone, all_fields
from ._loading import identify, likeness, load_weights, match_weights, meta_model, options_for, variant_name
from ._registry import FAMILIES, Family, Variant, family_named, family_of, list_models
from ._search import Choice, Searched
from ._stages import HierarchicalBackbone
from ._timm import create_model, register

__all__ = [
    'FAMILIES',
    'Backbone',
    'Choice',
    'Family',
    'HierarchicalBackbone',
    'Searched',
    'Variant',
    'all_fields',
    'check_choice',
    'create_model',
    'family_named',
    'family_of',
    'identify',
    'likeness',
    'list_models',
    'load_weights',
    'match_weights',
    'meta_model',
    'options_for',
    'register',
    'variant_name',
]
