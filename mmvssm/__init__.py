"""Vision state-space backbones for dense prediction.

Importing registers every variant with timm (without which there are the kernels alone), and the backbones with
mmengine's registry where that is installed; the rest of OpenMMLab is imported, and patched, by `mmvssm.openmmlab`.
"""

import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if not Path(__file__).with_name('kernels').is_dir():  # in the source tree, kernels/ stands beside the package
    __path__.append(str(Path(__file__).resolve().parents[1]))

__version__ = '0.1.0'
__all__ = ['count_flops', 'create_model', 'flop_terms', 'list_models', 'load_weights']

# The console command answers `--help` before torch could be imported; it gets all this when a command first asks.
_COMMAND = Path(sys.argv[0]).stem in ('mmvssm', 'mmvssm-script') if getattr(sys, 'argv', None) else False


def _register() -> dict[str, object]:
    """The names of `__all__`; importing them registers."""
    from .backbones import create_model, list_models, load_weights
    from .flops import count_flops, flop_terms

    if find_spec('mmengine') is not None:
        try:
            from . import registry  # noqa: F401
        except ImportError as error:
            warnings.warn(
                f'mmengine is installed and fails to import, so configs do not know mmvssm: {error}', stacklevel=2
            )
    found = (count_flops, create_model, flop_terms, list_models, load_weights)
    return dict(zip(__all__, found, strict=True))


def __getattr__(name: str) -> object:
    if name in __all__:
        globals().update(_register())
        return globals()[name]
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


if TYPE_CHECKING:
    from .backbones import create_model, list_models, load_weights
    from .flops import count_flops, flop_terms
elif not _COMMAND and find_spec('timm') is not None:
    globals().update(_register())
