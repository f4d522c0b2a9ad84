"""Vision state-space backbones for dense prediction.

Importing registers every variant with timm, and the backbones with mmengine's registry where that is installed;
the rest of OpenMMLab is imported, and patched, by `mmvssm.openmmlab` alone.
"""

import warnings
from importlib.util import find_spec
from pathlib import Path

if not Path(__file__).with_name('kernels').is_dir():  # in the source tree, kernels/ stands beside the package
    __path__.append(str(Path(__file__).resolve().parents[1]))

from .backbones import create_model, list_models, load_weights
from .flops import count_flops, flop_terms

__version__ = '0.1.0'
__all__ = ['count_flops', 'create_model', 'flop_terms', 'list_models', 'load_weights']

if find_spec('mmengine') is not None:
    try:
        from . import registry  # noqa: F401
    except ImportError as error:
        warnings.warn(
            f'mmengine is installed and fails to import, so configs do not know mmvssm: {error}', stacklevel=2
        )
