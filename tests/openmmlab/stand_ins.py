"""WandB and MLflow as far as the loggers use them, with what they refuse; the packages are too large for the tests.

Held against wandb 0.31 and mlflow 3.17, where the same calls do the same.
"""

import re
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any


def install(patch, module: ModuleType) -> Any:
    """Put a stand-in in the place of its package."""
    patch.setitem(sys.modules, module.__name__, module)
    return module


class WandB(ModuleType):
    """`runs`: id -> what was logged to it, in order, with the settings of each start."""

    def __init__(self, key: str | None = None):
        super().__init__('wandb')
        self.__spec__ = ModuleSpec('wandb', None)
        self.api = SimpleNamespace(api_key=key)
        self.runs: dict[str, SimpleNamespace] = {}
        self.run = None

    def init(self, *, id, name, project, dir, resume, mode, settings):
        assert self.run is None, 'a run is open'
        assert mode in ('online', 'offline')
        self.run = self.runs.setdefault(id, SimpleNamespace(rows=[], config={}, starts=[]))
        self.run.starts.append(dict(name=name, project=project, dir=dir, resume=resume, mode=mode))
        self.config = SimpleNamespace(update=self._update)

    def _update(self, values, allow_val_change=False):
        for key, value in values.items():
            if not allow_val_change and self.run.config.get(key, value) != value:
                raise ValueError(f'Attempted to change value of key "{key}"')
            assert isinstance(value, str | int | float | None), key
        self.run.config.update(values)

    def define_metric(self, name, step_metric):
        self.run.steps = (name, step_metric)

    def log(self, values):
        self.run.rows.append(dict(values))

    def finish(self):
        self.run = None


class MlflowError(Exception):
    pass


class MLflow(ModuleType):
    """`stores`: tracking URI -> experiments and runs."""

    def __init__(self):
        super().__init__('mlflow')
        self.__spec__ = ModuleSpec('mlflow', None)
        self.MlflowException = MlflowError
        self.stores: dict[str, SimpleNamespace] = {}
        self.active = None

    def set_tracking_uri(self, uri):
        if uri.startswith('file:'):
            raise MlflowError('The filesystem tracking backend is in maintenance mode')
        self.store = self.stores.setdefault(uri, SimpleNamespace(experiments={}, runs=[]))

    def get_experiment_by_name(self, name):
        return self.store.experiments.get(name)

    def create_experiment(self, name, artifact_location=None):
        self.store.experiments[name] = SimpleNamespace(name=name, artifact_location=artifact_location)

    def set_experiment(self, name):
        self.store.experiments.setdefault(name, SimpleNamespace(name=name, artifact_location=None))

    def search_runs(self, filter_string, output_format):
        assert output_format == 'list'
        key, value = re.fullmatch(r"tags\.(\w+) = '(.*)'", filter_string).groups()
        return [run for run in self.store.runs if run.tags.get(key) == value]

    def start_run(self, run_id=None, run_name=None, tags=None):
        if self.active is not None:
            raise MlflowError('Run with UUID is already active')
        if run_id is None:
            self.active = SimpleNamespace(
                info=SimpleNamespace(run_id=str(len(self.store.runs)), run_name=run_name),
                data=SimpleNamespace(params={}),
                tags=tags or {},
                metrics=[],
                files={},
            )
            self.store.runs.append(self.active)
        else:
            self.active = self.get_run(run_id)

    def active_run(self):
        return self.active

    def get_run(self, run_id):
        return next(run for run in self.store.runs if run.info.run_id == run_id)

    def log_params(self, params):
        if len(params) > 100:
            raise MlflowError('A batch logging request can contain at most 100 params')
        for key, value in params.items():
            if not re.fullmatch(r'[/\w.\- :]*', key) or len(str(value)) > 500:
                raise MlflowError(f'{key}: invalid name, or value of more than 500 characters')
            if self.active.data.params.get(key, value) != value:
                raise MlflowError(f'Changing param values is not allowed: {key}')
        self.active.data.params.update(params)

    def log_metrics(self, metrics, step):
        for name, value in metrics.items():
            if not re.fullmatch(r'[/\w.\- :]*', name):
                raise MlflowError(f'Invalid metric name: {name}')
            self.active.metrics.append((name, float(value), step))

    def log_text(self, text, name):
        self.active.files[name] = text

    def end_run(self):
        self.active = None
