"""Loggers by one option: mmengine's backends for TensorBoard, WandB and MLflow, mended, in the work folder of a run.

Each writes into WORK_DIR/NAME, from the first value on: a test with the config that a run has left logs nothing. A
resumed run goes on in the logger's run that it had, by the name that is kept in the file `run` there; without a
resumption a new one begins beside it.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import VISBACKENDS as ROOT
from mmengine.registry import Registry
from mmengine.visualization import MLflowVisBackend, TensorboardVisBackend, WandbVisBackend

from mmvssm.errors import UsageError
from mmvssm.openmmlab.config_files import flat

VISBACKENDS = Registry('mmvssm vis_backend', parent=ROOT, scope='mmvssm', locations=['mmvssm.openmmlab'])
# option -> the backend, and what comes with the package of the option's name
LOGGERS = {
    'tensorboard': ('TensorBoardBackend', ('tensorboard',)),
    'wandb': ('WandbBackend', ('wandb',)),
    'mlflow': ('MLflowBackend', ('mlflow', 'sqlalchemy')),  # mlflow-skinny has no store of its own
}
LONGEST = 500  # characters of a setting as MLflow keeps it, in whatever version
AT_ONCE = 100  # settings that MLflow takes
PATIENCE = 5.0  # seconds to wait for WandB's server


def add(cfg: Config, names: Sequence[str], resume: bool) -> None:
    """Put loggers into the visualizer of a config.

    Args:
        cfg: changed in place; its `work_dir` is settled.
        names: of `LOGGERS`.
        resume: the run goes on, and with it the logger's.

    Raises:
        UsageError: a package is not installed.
    """
    for name in names:
        if not all(map(importlib.util.find_spec, LOGGERS[name][1])):
            raise UsageError(f'--log {name} needs a package that is not installed: pip install {name}')
    if not names:
        return
    visualizer = cfg.get('visualizer') or dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
    own = [
        dict(type=f'mmvssm.{LOGGERS[name][0]}', save_dir=f'{cfg.work_dir}/{name}', resume=resume)
        for name in dict.fromkeys(names)
    ]
    cfg.visualizer = dict(visualizer, vis_backends=[*(visualizer.get('vis_backends') or []), *own])


def forget(cfg: Config) -> None:
    """Take out what :func:`add` has put into the config that an earlier run has left: it is that run's."""
    backends = (cfg.get('visualizer') or {}).get('vis_backends')
    if isinstance(backends, list | tuple):
        own = [f'mmvssm.{name}' for name, _ in LOGGERS.values()]
        cfg.visualizer.vis_backends = [b for b in backends if b.get('type') not in own or 'resume' not in b]


def _name_of_run(folder: str, resume: bool) -> str:
    """The name of a logger's run: what the file `run` has where a run goes on, else a new one, and it is kept there."""
    file = Path(folder, 'run')
    if resume and file.is_file() and (kept := file.read_text(encoding='utf-8').strip()):
        return kept
    name = f'{time.strftime("%Y%m%d_%H%M%S")}_{secrets.token_hex(2)}'
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'{name}\n', encoding='utf-8')
    return name


class _FromTheFirstValue:
    """A backend that begins its run with the first value, and logs the settings then."""

    experiment: Any
    _config: Config | None = None

    def add_config(self, config: Config, **kwargs: Any) -> None:
        """Keep the settings until there is a run."""
        self._config = config

    def _begun(self) -> Any:
        """What values are logged to."""
        experiment = self.experiment
        if self._config is not None:
            config, self._config = self._config, None
            self._log_settings(config)
        return experiment

    def _log_settings(self, config: Config) -> None:
        raise NotImplementedError


@VISBACKENDS.register_module()
class TensorBoardBackend(_FromTheFirstValue, TensorboardVisBackend):
    """mmengine's, one folder of events a run, whatever number of times it is resumed.

    What the stopped run has logged behind the checkpoint that it goes on from is hidden, and what is logged is on the
    disk at once: a signal ends the process without another chance.

    Args:
        save_dir: the runs are folders in it.
        resume: go on in the latest of them.
    """

    def __init__(self, save_dir: str, resume: bool = False):
        super().__init__(save_dir)
        self._folder, self._resume = save_dir, resume

    def _init_env(self) -> None:
        self._save_dir = str(Path(self._folder, _name_of_run(self._folder, self._resume)))
        super()._init_env()
        if self._resume:
            self._tensorboard.purge_step = MessageHub.get_current_instance().get_info('iter', 0) + 1
            self._tensorboard.close()  # it opens a file anew, and tells there where it goes on

    def _log_settings(self, config: Config) -> None:
        super(_FromTheFirstValue, self).add_config(config)

    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **kwargs: Any) -> None:
        writer = self._begun()
        super().add_scalars(scalar_dict, step, file_path, **kwargs)
        writer.flush()


@VISBACKENDS.register_module()
class WandbBackend(_FromTheFirstValue, WandbVisBackend):
    """mmengine's, without what it gets wrong; offline where there is no key or no network.

    mmengine counts calls as steps, so that validations and resumed runs move everything behind them; uploads all Python
    files below the current folder; hooks gradients of the model; refuses a config that changes when a run is resumed.
    Here each value stands at its iteration (validations at their epoch, where they are noted so), under `step`.

    `WANDB_MODE`, `WANDB_PROJECT` and the others of its variables hold. `wandb sync` uploads what was logged offline.

    Args:
        save_dir: for the files of the runs.
        resume: go on in the latest of them.
    """

    def __init__(self, save_dir: str, resume: bool = False):
        super().__init__(save_dir)
        self._resume = resume

    def _init_env(self) -> None:
        name = _name_of_run(self._save_dir, self._resume)
        self._init_kwargs = dict(
            id=name,
            name=f'{Path(self._save_dir).resolve().parent.name} {name}',
            project=os.environ.get('WANDB_PROJECT', 'mmvssm'),
            dir=str(Path(self._save_dir).parent),  # it makes a folder of its own name there
            resume='allow',
            mode=wandb_mode(),
            settings=dict(console='off'),  # the work folder has the log
        )
        super()._init_env()
        self._wandb.define_metric('*', step_metric='step')

    def _log_settings(self, config: Config) -> None:
        self._wandb.config.update(_plain_settings(config), allow_val_change=True)

    def add_graph(self, model: Any, data_batch: Any, **kwargs: Any) -> None:
        """Nothing: WandB's watch changes what runs."""

    def add_image(self, name: str, image: Any, step: int = 0, **kwargs: Any) -> None:
        wandb = self.experiment
        wandb.log({name: wandb.Image(image), 'step': step})

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        self.add_scalars({name: value}, step)

    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **kwargs: Any) -> None:
        self._begun().log({**{name: float(value) for name, value in scalar_dict.items()}, 'step': step})

    def close(self) -> None:
        if hasattr(self, '_wandb'):
            self._wandb.finish()  # `join`, as mmengine has it, is a name of the past


def wandb_mode() -> str:
    """What the user says; else online where there is a key and the server answers: it would ask, or wait, otherwise."""
    import wandb

    if said := os.environ.get('WANDB_MODE'):
        return said
    if not wandb.api.api_key:
        return 'offline'
    try:
        urllib.request.urlopen(os.environ.get('WANDB_BASE_URL', 'https://api.wandb.ai'), timeout=PATIENCE).close()
    except urllib.error.HTTPError:  # it answers
        return 'online'
    except (OSError, ValueError):
        return 'offline'
    return 'online'


@VISBACKENDS.register_module()
class MLflowBackend(_FromTheFirstValue, MLflowVisBackend):
    """mmengine's, without what it gets wrong; into a local database unless `MLFLOW_TRACKING_URI` names a server.

    mmengine writes plain files, which MLflow refuses by now; logs all settings in one call and whole, which MLflow
    limits; logs them again when a run is resumed, which MLflow refuses; begins a run that nothing can find again; and
    copies every log, config and JSON file of the work folder into the run at its end, its own files among them, again
    at each resumption. Here settings are logged once, cut, and the config as a file.

    Args:
        save_dir: for the files of the runs.
        resume: go on in the latest of them.
    """

    def __init__(self, save_dir: str, resume: bool = False):
        super().__init__(save_dir)
        self._resume = resume

    def _init_env(self) -> None:
        import mlflow

        self._mlflow = mlflow
        folder = Path(self._save_dir).resolve()
        name = _name_of_run(self._save_dir, self._resume)
        experiment = os.environ.get('MLFLOW_EXPERIMENT_NAME', 'mmvssm')
        if not os.environ.get('MLFLOW_TRACKING_URI'):
            mlflow.set_tracking_uri(f'sqlite:///{(folder / "mlflow.db").as_posix()}')
            if mlflow.get_experiment_by_name(experiment) is None:
                mlflow.create_experiment(experiment, artifact_location=(folder / 'files').as_uri())
        mlflow.set_experiment(experiment)
        earlier = mlflow.search_runs(filter_string=f"tags.mmvssm_run = '{name}'", output_format='list')
        if earlier:
            mlflow.start_run(run_id=earlier[0].info.run_id)
        else:
            mlflow.start_run(run_name=f'{folder.parent.name} {name}', tags={'mmvssm_run': name})

    def _log_settings(self, config: Config) -> None:
        mlflow = self._mlflow
        logged = mlflow.get_run(mlflow.active_run().info.run_id).data.params
        fresh = [(key, str(value)[:LONGEST]) for key, value in _plain_settings(config).items() if key not in logged]
        for i in range(0, len(fresh), AT_ONCE):
            mlflow.log_params(dict(fresh[i : i + AT_ONCE]))
        mlflow.log_text(_text(config), 'config.py')

    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **kwargs: Any) -> None:
        self._begun()
        super().add_scalars(scalar_dict, step, file_path, **kwargs)

    def add_image(self, name: str, image: Any, step: int = 0, **kwargs: Any) -> None:
        self.experiment.log_image(image, f'{name}_{step}.png')

    def close(self) -> None:
        if hasattr(self, '_mlflow'):
            self._mlflow.end_run()


def _text(config: Config) -> str:
    try:
        return config.pretty_text
    except SyntaxError:  # mmengine before 0.10.8, of values that have no literal
        return str(config)


def _plain_settings(config: Config) -> dict[str, Any]:
    """The settings by names that every logger takes, with values of JSON or their words."""
    return {
        key: value if isinstance(value, str | int | float | None) else str(value)
        for key, value in flat(config.to_dict()).items()
    }
