"""One file a family; importing this package registers every variant."""

from . import efficientvmamba, localvim, localvmamba, vmamba
from ._factory import create_model, identify, list_models, load_weights

__all__ = [
    'create_model',
    'efficientvmamba',
    'identify',
    'list_models',
    'load_weights',
    'localvim',
    'localvmamba',
    'vmamba',
]
