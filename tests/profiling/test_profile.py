"""`mmvssm profile`: right counts, wrong models not timed, ratios of the same round, timm's columns."""

import csv
import io
import math

import pytest
import torch
from torch import nn

from mmvssm import create_model, targets
from mmvssm.commands import main
from mmvssm.kernels.backend import default_backend
from mmvssm.openmmlab.whole import COUNTED_AT
from mmvssm.profiling import Subject, profile, subject, table, trial
from mmvssm.profiling.memory import peak_mib

SETTING = trial.Setting(rounds=3)
PUBLISHED = {'mask_rcnn_vmamba_t': (271, 50), 'upernet_vmamba_t': (949, 62)}  # billions, millions


def of(name: str, size=(64, 96)) -> Subject:
    return subject(targets.find(name), size)


def network(function, *layers) -> Subject:
    """A subject around a function of images."""

    class Network(nn.Sequential):
        def forward(self, x):
            return function(super().forward(x))

    model = Network(*layers)
    return Subject('network', model, model, model, lambda x: model(x).sum(), own=False)


def test_costs_of_a_known_network():
    row = trial.describe(network(lambda x: x, nn.Conv2d(3, 8, 3, padding=1)), (32, 48))
    assert (row.params, row.terms.total, row.activations) == (3 * 8 * 9 + 8, 32 * 48 * 3 * 8 * 9, 32 * 48 * 8)


@pytest.mark.parametrize('name', PUBLISHED)
def test_totals_of_whole_models_are_the_published_ones(name):
    flops, params = PUBLISHED[name]
    size = COUNTED_AT['mmdet' if name.startswith('mask') else 'mmseg']
    row = trial.describe(of(name, size), size)
    assert row.terms.total / 1e9 == pytest.approx(flops, rel=0.01)
    if name.startswith('mask'):
        assert row.params / 1e6 == pytest.approx(params, rel=0.01)


def test_models_take_turns_and_ratios_are_to_the_first(monkeypatch):
    order, clock = [], iter(range(1000))
    monkeypatch.setattr(trial, '_once', lambda step, device: order.append(step) or [1.0, 3.0][len(order) % 2 - 1])
    monkeypatch.setattr(trial, 'peak_mib', lambda step, device: next(clock))
    makers = [lambda: network(torch.relu, nn.Conv2d(3, 2, 1)), lambda: network(torch.tanh, nn.Conv2d(3, 2, 1))]
    first, second = profile(makers, (32, 32), SETTING)
    assert order == [order[0], order[1]] * 3
    assert (first.ratio, second.ratio, second.seconds) == (1.0, 3.0, 3.0)


WRONG = {
    'its output is not finite': lambda x: x * math.nan,
    'two runs differ': lambda x: x + torch.rand_like(x),
}


@pytest.mark.parametrize('why', WRONG)
def test_a_wrong_model_is_not_timed(why):
    row, other = profile(
        [lambda: network(WRONG[why], nn.Conv2d(3, 2, 1)), lambda: of('test_vmamba')], (64, 64), SETTING
    )
    assert (row.wrong, row.times) == (why, [])
    assert len(other.times) == 3
    assert f'network at 64x64 was not timed: {why}' in table.in_words([row, other])


def test_a_kernel_that_is_not_the_reference_is_not_timed(monkeypatch):
    model = create_model('test_vmamba', features_only=True).eval()

    def off(module, args, output):
        return [one * (1 if default_backend() == 'reference' else 1.01) for one in output]

    model.register_forward_hook(off)
    made = Subject('off', model, model, model, lambda x: model(x)[0].sum(), own=True)
    (row,) = profile([lambda: made], (64, 64), SETTING)
    assert row.wrong.startswith('its kernels differ from the reference by 1.0e-02')


@pytest.mark.parametrize('train', [False, True], ids=['forward', 'training'])
@pytest.mark.parametrize('name', ['test_localvmamba', 'test_vil', 'resnet10t', 'demo/mask_rcnn_vmamba_nuclei'])
def test_every_kind_of_model_runs(name, train):
    (row,) = profile([lambda: of(name)], (64, 96), trial.Setting(rounds=1, train=train))
    assert row.wrong == ''
    assert row.seconds > 0


def test_csv_has_timm_s_columns():
    rows = profile([lambda: of('test_vmamba')], (64, 96), SETTING)
    (found,) = csv.DictReader(io.StringIO(table.as_csv(rows, SETTING)))
    columns = ('img_size', 'batch_size', 'samples_per_sec', 'step_time', 'gmacs', 'macts')
    assert list(found)[:8] == ['model', *(f'infer_{name}' for name in columns), 'param_count']
    assert (found['infer_img_size'], found['infer_batch_size'], found['compiled']) == ('64x96', '1', 'False')
    assert float(found['infer_samples_per_sec']) * float(found['infer_step_time']) == pytest.approx(1000, rel=0.01)


def test_table_by_module_adds_up():
    made = of('test_vmamba', (64, 64))
    row = trial.describe(made, (64, 64))
    lines = [line.split() for line in table.by_module(made.model, row, 1).splitlines()[1:] if ' M' in line]
    assert sum(float(words[1]) for words in lines) == pytest.approx(row.params / 1e6, abs=0.05)


def test_peak_memory_of_a_known_call():
    assert peak_mib(lambda: torch.ones(64 << 18), 'cpu') == pytest.approx(64, abs=8)


def test_command(tmp_path, capsys):
    words = ['test_vmamba', '--versus', 'resnet10t', '--sizes', '64', '96x64', '--rounds', '2', '--device', 'cpu']
    main(['profile', *words, '--csv', str(tmp_path / 'a.csv'), '--plot', str(tmp_path / 'a.png')])
    out = capsys.readouterr().out
    assert 'float32, eager, forward, batch 1, 2 rounds' in out
    assert len((tmp_path / 'a.csv').read_text().splitlines()) == 5
    assert (tmp_path / 'a.png').stat().st_size > 10_000


WRONG_WORDS = {
    'no such model': (['resnet5000'], 'there is no config, published checkpoint or model resnet5000'),
    'rounds': (['test_vmamba', '--rounds', '0'], '--rounds 0 must be at least 1'),
    'plot': (['test_vmamba', '--no-time', '--plot', 'a.png'], '--plot: nothing was timed'),
}


@pytest.mark.parametrize('what', WRONG_WORDS)
def test_wrong_words(what):
    words, message = WRONG_WORDS[what]
    with pytest.raises(SystemExit) as stop:
        main(['profile', *words])
    assert message in stop.value.code


def test_a_size_that_is_none(capsys):
    with pytest.raises(SystemExit):
        main(['profile', 'test_vmamba', '--sizes', '2x2x2'])
    assert "'2x2x2' is no size; allowed: a number from 32 on, or HEIGHTxWIDTH" in capsys.readouterr().err
