"""The registry of published checkpoints is consistent in itself."""

import re
from urllib.parse import urlsplit

import pytest

from mmvssm import weights

CHECKPOINTS = list(weights.PUBLISHED.values())


@pytest.mark.parametrize('checkpoint', CHECKPOINTS, ids=lambda c: c.name)
def test_an_entry_is_complete(checkpoint):
    assert checkpoint.name.startswith(checkpoint.model + '.')
    assert urlsplit(checkpoint.url).scheme == 'https'
    assert re.fullmatch(r'[\w.\-]+\.(pth|ckpt|th)', checkpoint.file)
    assert checkpoint.license in ('MIT', 'Apache-2.0', 'Apache-2.0 or MIT')
    wanted = {'imagenet': 'top1', 'coco': 'mask_AP75', 'ade20k': 'mIoU_ms'}[checkpoint.task]
    assert checkpoint.evaluation['input_size'] == (3, 224, 224)
    assert 20 < checkpoint.metrics[wanted] < 100


def test_files_and_urls_are_unique():
    for values in ([c.file for c in CHECKPOINTS], [c.url for c in CHECKPOINTS]):
        assert len(set(values)) == len(values)


def test_numbers_of_files():
    count = {task: len(weights.list_checkpoints(task=task)) for task in ('imagenet', 'coco', 'ade20k')}
    assert count == {'imagenet': 34, 'coco': 13, 'ade20k': 7}


def test_at_most_one_default_each():
    defaults = [c.model for c in CHECKPOINTS if c.default]
    assert len(set(defaults)) == len(defaults)


@pytest.mark.parametrize(
    ('model', 'state'),
    [
        ('vmamba_tiny_s1l8', 'weights published'),
        ('vil_base_stride8', 'weights published'),
        ('localvmamba_small', 'weights published'),
        ('localvmamba_tiny', 'weights never released'),
        ('localvim_small', 'weights never released'),
        ('vil_tinyplus_stride8', 'weights never released'),
        ('heracles_base', 'weights never released'),
        ('vil_tiny_stride8', 'architecture only'),
        ('heracles_huge', 'architecture only'),
    ],
)
def test_honest_states(model, state):
    assert weights.state(model) == state
    assert (weights.default_checkpoint(model) is not None) == (state == 'weights published')


def test_listing_by_family_and_task():
    assert {c.model for c in weights.list_checkpoints('vim_')} == {
        'vim_tiny',
        'vim_tiny_stride8',
        'vim_small',
        'vim_small_stride8',
        'vim_base',
    }
    assert all(c.task == 'coco' for c in weights.list_checkpoints('vmamba', 'coco'))
    with pytest.raises(ValueError, match='allowed: imagenet, coco, ade20k'):
        weights.list_checkpoints(task='detection')


def test_results_list_those_with_weights_first():
    kinds = [isinstance(r, weights.Checkpoint) for r in weights.results('localvmamba_small')]
    assert kinds == sorted(kinds, reverse=True)
    assert len(kinds) == 4


@pytest.mark.parametrize(('model', 'crop'), [('vil2_tiny', 1.0), ('heracles_base', 0.96), ('vim_tiny', 0.875)])
def test_evaluation_crop(model, crop):
    assert weights.evaluation(model)['crop_pct'] == crop
