"""One file a family; importing this package registers every variant."""

from . import efficientvmamba, heracles, localvim, localvmamba, vil, vim, vmamba
from ._factory import create_model, identify, list_models, load_weights

__all__ = [
    'create_model',
    'efficientvmamba',
    'heracles',
    'identify',
    'list_models',
    'load_weights',
    'localvim',
    'localvmamba',
    'vil',
    'vim',
    'vmamba',
]
