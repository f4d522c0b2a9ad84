"""NaNWatchHook: the layer that it names, in real runs of mmengine."""

import pytest
import torch
from mmengine.hooks import Hook
from torch import nn

from mmvssm.openmmlab import compat
from mmvssm.openmmlab.hooks.nan_watch import NaNWatchHook
from tests.openmmlab import toy

compat.install()


def train(folder, break_it, **kwargs):
    """Train the toy for 6 iterations; `break_it(model)` is called before the fourth."""

    class Break(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if batch_idx == 3:
                break_it(runner.model)

    watch = dict(type='mmvssm.NaNWatchHook', **kwargs)
    runner = toy.runner(folder, dict(checkpoint=None), custom_hooks=[Break(), watch])
    runner.train()
    return runner


class Overflow(nn.Linear):
    def forward(self, x):
        y = super().forward(x)
        return torch.where(torch.arange(4) == 1, torch.inf, y)


class Unlucky(nn.Linear):
    """Fails for some random numbers only, so that a second pass must have the same ones."""

    def forward(self, x):
        luck = torch.rand(())
        if not hasattr(self, 'luck'):
            self.luck = luck
        return super().forward(x) / (luck != self.luck)


def test_healthy_run_is_not_touched(tmp_path):
    train(tmp_path, lambda model: None)


def test_layer_that_makes_it_is_named(tmp_path):
    with pytest.raises(FloatingPointError) as caught:
        train(tmp_path, lambda model: setattr(model.middle, 'inner', Overflow(4, 4)))
    assert str(caught.value) == (
        'iteration 4: loss is not finite; the first layer whose output is not is middle.inner (Overflow): '
        '0 NaN and 2 Inf of 8 values in float32'
    )


def test_operation_between_layers_is_located(tmp_path):
    with pytest.raises(
        FloatingPointError, match=r'middle\.outer \(Linear\).*and so was its input, after middle\.inner'
    ):
        train(tmp_path, lambda model: setattr(model.middle, 'factor', float('nan')))


def test_broken_parameter_is_named(tmp_path):
    with pytest.raises(FloatingPointError, match=r'parameter middle\.outer\.bias was not finite before this iteration'):
        train(tmp_path, lambda model: model.middle.outer.bias.data.fill_(torch.nan))


def test_loss_itself_is_named(tmp_path):
    def break_it(model):
        model.head.register_forward_hook(lambda layer, inputs, y: y * 1e30)

    with pytest.raises(FloatingPointError, match='every layer gives finite outputs'):
        train(tmp_path, break_it)


def test_second_pass_uses_the_same_random_numbers(tmp_path):
    with pytest.raises(FloatingPointError, match=r'stem \(Unlucky\)'):
        train(tmp_path, lambda model: setattr(model, 'stem', Unlucky(4, 4)))


def test_warning_lets_the_run_go_on(tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr('mmengine.logging.MMLogger.warning', lambda self, text: messages.append(text))
    train(tmp_path, lambda model: setattr(model, 'stem', Overflow(4, 4)), action='warn')
    assert 'stem (Overflow)' in messages[0]
    assert [message.split(':')[0] for message in messages] == ['iteration 4', 'iteration 5', 'iteration 6']


def test_hooks_are_removed_after_training(tmp_path):
    model = train(tmp_path, lambda model: None).model
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


def test_weights_stay_clean(tmp_path):
    models = []

    def break_it(model):
        models.append(model)
        model.middle.factor = float('inf')

    with pytest.raises(FloatingPointError):
        train(tmp_path, break_it)
    assert all(torch.isfinite(p).all() for p in models[0].parameters())


def test_unknown_action_is_refused():
    with pytest.raises(ValueError, match="action='stop' is not supported; allowed: raise, warn"):
        NaNWatchHook(action='stop')
