"""Averaged weights, early stopping, the best checkpoint, gathered batches: into configs, and what they do in a run."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper

from mmvssm import configs
from mmvssm.errors import UsageError
from mmvssm.openmmlab import config_files, helps
from mmvssm.openmmlab.helps import Helps
from mmvssm.weights import read_checkpoint
from tests.openmmlab import toy, trainee

SCORES = {
    'mask_rcnn_vmamba_t': 'coco/bbox_mAP',
    'upernet_vmamba_t': 'mIoU',
    'imagenet_localvim_t': 'accuracy/top1',
}
EVALUATORS = {
    'several': ([dict(type='DumpResults'), dict(type='mmseg.IoUMetric', iou_metrics=['mDice'])], 'mDice'),
    'segments first': (dict(type='CocoMetric', metric=['segm', 'bbox']), 'coco/segm_mAP'),
    'own prefix': (dict(type='CocoMetric', metric='bbox', prefix='val'), 'val/bbox_mAP'),
    'VOC': (dict(type='VOCMetric'), 'pascal_voc/mAP'),
}


@pytest.mark.parametrize('name', SCORES)
def test_main_score_of_our_configs(name):
    assert helps.main_score(config_files.read(configs.find(name))) == SCORES[name]


@pytest.mark.parametrize('what', EVALUATORS)
def test_main_score(what):
    evaluator, score = EVALUATORS[what]
    assert helps.main_score(Config(dict(val_evaluator=evaluator))) == score


WRONG = {
    'ema': (Helps(ema=1.0), '--ema 1.0: allowed'),
    'patience': (Helps(early_stopping=0, save_best='score'), '--early-stopping 0: allowed'),
    'score': (Helps(save_best='auto'), 'Mine has no usual one here: give it by --save-best NAME'),
    'twice': (Helps(ema=0.1), r'--ema: the config has custom_hooks\.0, EMAHook, already'),
}


@pytest.mark.parametrize('what', WRONG)
def test_what_cannot_be_is_refused(what):
    given, message = WRONG[what]
    cfg = Config(dict(val_evaluator=dict(type='Mine'), custom_hooks=[dict(type='mmengine.EMAHook')]))
    with pytest.raises(UsageError, match=message):
        helps.add(cfg, given)


class Told(BaseMetric):
    """The scores that it is given, one a validation."""

    default_prefix = None

    def __init__(self, scores):
        super().__init__()
        self.scores = iter(scores)

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(score=next(self.scores))


def collate(batch):
    return dict(x=torch.zeros(1, 4))


def run(folder, given: Helps, scores=(0.1, 0.2, 0.3), hooks=()):
    """A toy's training with them, as many epochs as there are scores."""
    cfg = Config(dict(default_hooks=dict(checkpoint=dict(type='mmvssm.AtomicCheckpointHook', interval=1))))
    helps.add(cfg, given)
    data = dict(dataset=[{'x': 0}], batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
    validated = dict(val_dataloader=dict(data, collate_fn=collate), val_cfg=dict(), val_evaluator=[Told(scores)])
    custom = [*copy.deepcopy(cfg.get('custom_hooks') or []), *hooks]
    runner = toy.runner(folder, dict(cfg.default_hooks), epochs=len(scores), custom_hooks=custom, **validated)
    runner.train()
    return runner


class Watch(Hook):
    """A weight after each iteration of training, and in each validation."""

    def __init__(self):
        self.trained, self.validated = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.trained.append(runner.model.head.weight.detach().clone())

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        self.validated.append(runner.model.head.weight.detach().clone())


def test_the_average_is_the_running_mean_and_is_validated_and_saved(tmp_path):
    watch = Watch()
    run(tmp_path, Helps(ema=0.05), hooks=[watch])
    average = watch.trained[0]  # of mmengine's, whose first step copies
    for step, weight in enumerate(watch.trained[1:], 1):
        average = average.lerp(weight, max(0.05, helps.GAMMA / (helps.GAMMA + step)))
    assert len(watch.trained) == 18
    assert torch.allclose(watch.validated[-1], average, atol=1e-6)
    saved = read_checkpoint(tmp_path / 'epoch_3.pth')
    assert torch.equal(saved['state_dict']['head.weight'], watch.validated[-1])
    assert torch.equal(saved['ema_state_dict']['module.head.weight'], watch.trained[-1])


STOPS = {
    'no progress': ((0.5, 0.4, 0.3, 0.9), 3),
    'the same again and again': ((0.0, 0.0, 0.0, 0.0), 3),
    'small steps are steps': ((0.1, 0.101, 0.102, 0.103), 4),
}


@pytest.mark.parametrize('how', STOPS)
def test_early_stopping_counts_validations_without_progress(how, tmp_path):
    scores, epochs = STOPS[how]
    assert run(tmp_path, Helps(early_stopping=2, save_best='score'), scores).epoch == epochs


def test_the_best_checkpoint_is_kept_beside_the_last(tmp_path):
    run(tmp_path, Helps(save_best='score'), (0.1, 0.7, 0.3))
    assert {path.name for path in tmp_path.glob('*.pth')} >= {'best_score_epoch_2.pth', 'epoch_3.pth'}
    assert len(list(tmp_path.glob('best_*'))) == 1


def trained_with(batches: list[torch.Tensor], accumulate: int) -> torch.Tensor:
    """All parameters of a small backbone after one pass over the batches."""
    torch.manual_seed(0)
    model = trainee.Model(noise=False)
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper')))
    helps.add(cfg, Helps(accumulate=accumulate))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    wrapper = OptimWrapper(optimizer, accumulative_counts=cfg.optim_wrapper.accumulative_counts)
    wrapper.initialize_count_status(model, 0, len(batches))
    for batch in batches:
        with wrapper.optim_context(model):
            loss = model(batch, mode='loss')['loss']
        wrapper.update_params(loss)
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_gathered_gradients_are_those_of_one_large_batch():
    images = torch.randn(12, 3, 24, 40, generator=torch.Generator().manual_seed(1))
    gathered, large = trained_with(list(images.split(2)), 3), trained_with(list(images.split(6)), 1)
    before = trained_with([], 1)
    assert (large - before).abs().max() > 1e-3
    assert (gathered - large).abs().max() < 1e-6
