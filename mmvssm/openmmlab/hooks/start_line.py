"""One line at the start of a run: what trains, on what, for how long, at which batch, and where the log is."""

import subprocess
from pathlib import Path

from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop

import mmvssm
from mmvssm.openmmlab import global_batch

ROOT = Path(mmvssm.__file__).parents[1]


@HOOKS.register_module()
class StartLineHook(Hook):
    """Logs what trains, its parameters, the length of the run, device, processes, batch, learning rate and log file.

    And the version of this package, with the commit where it is a clone.

    `mmvssm train` has it without asking.
    """

    priority = 'LOWEST'

    def before_train(self, runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        backbone = getattr(model, 'backbone', None)
        on = '' if backbone is None else f' on {type(backbone).__name__}'
        count = sum(p.numel() for p in model.parameters()) / 1e6
        runner.logger.info(
            f'{type(model).__name__}{on}, {count:.1f} M parameters: {_length(runner.train_loop)}, on {get_device()}, '
            f'{global_batch.in_words(runner)}; mmvssm {version()}; the whole log: {_log_file(runner)}'
        )


def _length(loop) -> str:
    begun = f', {loop.iter} of them done' if loop.iter else ''
    if isinstance(loop, EpochBasedTrainLoop):
        return f'{loop.max_epochs} epochs of {len(loop.dataloader)} iterations{begun}'
    return f'{loop.max_iters} iterations{begun}'


def _log_file(runner) -> Path:
    return Path(runner.log_dir, f'{runner.timestamp}.log')


def version() -> str:
    """'0.1.0', and in a clone '0.1.0+b7c8efc', or '0.1.0+b7c8efc-dirty' where files of it have changed."""
    if not (ROOT / '.git').exists() or not (ROOT / 'setup.py').is_file():
        return mmvssm.__version__
    command = ['git', '-C', str(ROOT), 'describe', '--always', '--dirty', '--exclude=*']
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return mmvssm.__version__
    return f'{mmvssm.__version__}+{done.stdout.strip()}'
