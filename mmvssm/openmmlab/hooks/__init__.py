"""Training hooks, for the `custom_hooks` of a config: `dict(type='mmvssm.NaNWatchHook')`. One file a hook."""

from mmengine.registry import HOOKS as ROOT
from mmengine.registry import Registry

from . import (  # noqa: F401
    atomic_checkpoint,
    contact_sheet,
    exact_resume,
    nan_watch,
    search,
    start_line,
    stop_signal,
    strict_load,
    validation_state,
)

# hooks are registered in mmengine's root; the empty child gives the prefix `mmvssm.` a meaning
HOOKS = Registry('mmvssm hook', parent=ROOT, scope='mmvssm', locations=['mmvssm.openmmlab'])
