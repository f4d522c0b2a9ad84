"""TensorBoard, and stand-ins of WandB and MLflow: right values at right steps, and one run however often it resumes."""

import importlib.util
import json
import socket
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric

from mmvssm.errors import UsageError
from mmvssm.openmmlab import loggers
from tests.openmmlab import stand_ins, toy


class Half(BaseMetric):
    """0.5 at every validation."""

    default_prefix = 'toy'

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(score=0.5)


def collate(batch):
    return dict(x=torch.zeros(1, 4))


def train(folder, logger, epochs, resume=False, hooks=()) -> None:
    """A toy's training of six iterations an epoch, all of them logged."""
    cfg = Config(dict(work_dir=str(folder)))
    loggers.add(cfg, [logger], resume)
    data = dict(dataset=[{'x': 0}], batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
    toy.runner(
        folder,
        dict(
            logger=dict(type='LoggerHook', interval=1),
            timer=dict(type='IterTimerHook'),
            checkpoint=dict(type='mmvssm.AtomicCheckpointHook', interval=1),
        ),
        epochs=epochs,
        visualizer=dict(cfg.visualizer, name=f'{folder} {logger} {epochs}'),
        val_dataloader=dict(data, collate_fn=collate),
        val_cfg=dict(),
        val_evaluator=[Half()],
        resume=resume,
        custom_hooks=list(hooks),
    ).train()


def losses(folder) -> list[tuple[int, float]]:
    """As mmengine's own record has them."""
    lines = [json.loads(line) for path in folder.glob('*/vis_data/scalars.json') for line in path.open()]
    return sorted({line['step']: line['loss'] for line in lines if 'loss' in line}.items())


def test_tensorboard_has_the_values_of_a_resumed_run_once(tmp_path):
    train(tmp_path, 'tensorboard', 2)
    (tmp_path / 'epoch_2.pth').unlink()  # what came after the first epoch is lost, and done again
    train(tmp_path, 'tensorboard', 3, resume=True)
    found = events(tmp_path)
    assert [(event.step, pytest.approx(event.value)) for event in found.Scalars('loss')] == losses(tmp_path)
    assert len(found.Scalars('loss')) == 18
    assert {event.value for event in found.Scalars('toy/score')} == {0.5}


def test_tensorboard_begins_a_run_of_its_own_without_a_resumption(tmp_path):
    train(tmp_path, 'tensorboard', 1)
    train(tmp_path, 'tensorboard', 2)
    assert len(list((tmp_path / 'tensorboard').glob('*/events*'))) == 2
    assert len({path.parent for path in (tmp_path / 'tensorboard').glob('*/events*')}) == 2


def test_a_test_with_the_config_that_a_run_has_left_begins_nothing(tmp_path):
    cfg = Config(dict(work_dir=str(tmp_path)))
    loggers.add(cfg, ['tensorboard'], resume=False)
    backend = loggers.TensorBoardBackend(f'{tmp_path}/tensorboard')
    backend.add_config(cfg)
    backend.close()
    assert not (tmp_path / 'tensorboard').exists()
    loggers.forget(cfg)
    assert [one['type'] for one in cfg.visualizer.vis_backends] == ['LocalVisBackend']


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (run,) = [path for path in (folder / 'tensorboard').iterdir() if path.is_dir()]
    found = EventAccumulator(str(run))
    found.Reload()
    return found


@pytest.fixture
def wandb(monkeypatch):
    for name in ('WANDB_MODE', 'WANDB_PROJECT', 'WANDB_BASE_URL'):
        monkeypatch.delenv(name, raising=False)
    return stand_ins.install(monkeypatch, stand_ins.WandB())


def test_wandb_has_each_value_at_its_step_and_goes_on(wandb, tmp_path):
    train(tmp_path, 'wandb', 1)
    train(tmp_path, 'wandb', 2, resume=True)
    (run,) = wandb.runs.values()
    assert wandb.run is None
    assert run.steps == ('*', 'step')
    assert [(row['step'], row['loss']) for row in run.rows if 'loss' in row] == losses(tmp_path)
    assert [row['step'] for row in run.rows if 'toy/score' in row] == [1, 1, 2]  # the one at the stop is repeated
    assert run.starts[0] == run.starts[1]
    assert run.starts[0]['dir'] == str(tmp_path)


def test_wandb_is_offline_without_a_key(wandb):
    assert loggers.wandb_mode() == 'offline'


def test_wandb_is_offline_where_the_server_does_not_answer(wandb, monkeypatch):
    wandb.api.api_key = 'key'
    with socket.create_server(('localhost', 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv('WANDB_BASE_URL', f'http://localhost:{port}')
    assert loggers.wandb_mode() == 'offline'


def test_wandb_does_as_the_user_says(wandb, monkeypatch):
    monkeypatch.setenv('WANDB_MODE', 'online')
    assert loggers.wandb_mode() == 'online'


@pytest.fixture
def mlflow(monkeypatch):
    for name in ('MLFLOW_TRACKING_URI', 'MLFLOW_EXPERIMENT_NAME'):
        monkeypatch.delenv(name, raising=False)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: True if name == 'sqlalchemy' else find(name))
    return stand_ins.install(monkeypatch, stand_ins.MLflow())


def test_mlflow_has_each_value_at_its_step_and_goes_on(mlflow, tmp_path):
    train(tmp_path, 'mlflow', 1)
    train(tmp_path, 'mlflow', 2, resume=True)
    ((uri, store),) = mlflow.stores.items()
    (run,) = store.runs
    assert uri == f'sqlite:///{tmp_path}/mlflow/mlflow.db'
    assert store.experiments['mmvssm'].artifact_location == (tmp_path / 'mlflow/files').as_uri()
    assert [(step, value) for name, value, step in run.metrics if name == 'loss'] == losses(tmp_path)
    assert [step for name, _, step in run.metrics if name == 'toy/score'] == [1, 1, 2]
    assert mlflow.active is None


ODD = dict(
    long='x' * 10_000,
    function=print,
    nested=[dict(a=(1, 2)), dict(b=None)],
    many={f'setting_{i}': i for i in range(250)},
)


def test_settings_of_any_kind_and_number_are_logged_and_may_change_when_resumed(mlflow, wandb, tmp_path):
    for number in (1, 2):
        for cls in (loggers.MLflowBackend, loggers.WandbBackend):
            backend = cls(str(tmp_path / cls.__name__), resume=number == 2)
            backend.add_config(Config(dict(ODD, changed=number)))
            backend.add_scalars(dict(loss=1.0), number)
            backend.close()
    ((run,),) = (store.runs for store in mlflow.stores.values())
    assert run.data.params['changed'] == '1'
    assert run.data.params['many.setting_249'] == '249'
    assert len(run.data.params) == 255
    (run,) = wandb.runs.values()
    assert run.config['changed'] == 2
    assert run.config['nested.0.a'] == '(1, 2)'


@pytest.mark.parametrize('name', ['tensorboard', 'wandb', 'mlflow'])
def test_a_missing_package_is_told_before_anything_starts(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(importlib.util, 'find_spec', lambda package: None)
    with pytest.raises(UsageError, match=f'--log {name} needs a package that is not installed: pip install {name}'):
        loggers.add(Config(dict(work_dir='w')), [name], resume=False)


def test_the_visualizer_of_a_config_keeps_what_it_has():
    cfg = Config(dict(work_dir='w', visualizer=dict(type='DetLocalVisualizer', vis_backends=[dict(type='Own')])))
    loggers.add(cfg, [], resume=False)
    assert [backend['type'] for backend in cfg.visualizer.vis_backends] == ['Own']
    loggers.add(cfg, ['tensorboard', 'tensorboard'], resume=True)
    added = dict(type='mmvssm.TensorBoardBackend', save_dir='w/tensorboard', resume=True)
    assert cfg.visualizer == dict(type='DetLocalVisualizer', vis_backends=[dict(type='Own'), added])
