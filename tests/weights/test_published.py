"""The registry of published checkpoints is consistent in itself."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from mmvssm import list_models, weights
from mmvssm.weights import published

ROOT = Path(__file__).parents[2]
CHECKPOINTS = list(weights.PUBLISHED.values())


@pytest.mark.parametrize('checkpoint', CHECKPOINTS, ids=lambda c: c.name)
def test_an_entry_is_complete(checkpoint):
    assert checkpoint.name.startswith(checkpoint.model + '.')
    assert urlsplit(checkpoint.url).scheme == 'https'
    assert re.fullmatch(r'[\w.\-]+\.(pth|ckpt|th)', checkpoint.file)
    assert checkpoint.license in ('MIT', 'Apache-2.0', 'MIT AND Apache-2.0')
    wanted = {'imagenet': 'top1', 'coco': 'mask_AP75', 'ade20k': 'mIoU_ms'}[checkpoint.task]
    assert checkpoint.evaluation['input_size'] == (3, 224, 224)
    assert 20 < checkpoint.metrics[wanted] < 100


def test_files_and_urls_are_unique():
    for values in ([c.file for c in CHECKPOINTS], [c.url for c in CHECKPOINTS]):
        assert len(set(values)) == len(values)


def test_numbers_of_files():
    count = {task: len(weights.list_checkpoints(task=task)) for task in ('imagenet', 'coco', 'ade20k')}
    assert count == {'imagenet': 36, 'coco': 13, 'ade20k': 8}


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
        ('vil_tiny_stride8', 'architecture only'),
    ],
)
def test_honest_states(model, state):
    assert weights.state(model) == state
    assert (weights.default_checkpoint(model) is not None) == (state == 'weights published')


def test_listing_by_family_and_task():
    assert {c.model for c in weights.list_checkpoints('vim_')} == {
        'vim_tiny',
        'vim_tiny_rope',
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


@pytest.mark.parametrize(('model', 'crop'), [('vil2_tiny', 1.0), ('vim_tiny', 0.875)])
def test_evaluation_crop(model, crop):
    assert weights.evaluation(model)['crop_pct'] == crop


@pytest.mark.parametrize(
    ('name', 'fields'),
    [
        ('vmamba_tiny_0220.in1k', dict(metrics={'top1': 82.5}, params='32M', flops='5G')),
        ('vmambav0_base.dp05_in1k', dict(metrics={'top1': 83.2}, params='75M', flops='18.0G', unverified=False)),
        ('vmamba_small_s2l15.mask_rcnn_1x_coco', dict(params='70M', flops='349G')),
        ('vmamba_small_s2l15.mask_rcnn_3x_coco', dict(params='70M', flops='349G')),
        (
            'vmambav0_small.upernet_160k_ade20k_640',
            dict(metrics={'mIoU': 50.8, 'mIoU_ms': 50.8}, params='76M', flops='1689G'),
        ),
        ('vil2_tiny.e800_in1k', dict(license='MIT AND Apache-2.0', params='6M', flops='1.5G')),
    ],
)
def test_published_records(name, fields):
    assert {field: getattr(weights.PUBLISHED[name], field) for field in fields} == fields


@pytest.mark.parametrize(
    ('model', 'method', 'metrics', 'size'),
    [
        ('efficientvmamba_tiny', 'RetinaNet 1x', (37.5, 57.8, 39.6, 22.6, 40.7, 49.1), ('13M', '')),
        ('efficientvmamba_small', 'RetinaNet 1x', (39.1, 60.3, 41.2, 23.9, 43.0, 51.3), ('19M', '')),
        ('efficientvmamba_base', 'RetinaNet 1x', (42.8, 63.9, 45.8, 27.3, 46.9, 55.1), ('44M', '')),
        ('localvim_small', 'UperNet 160k, 512x512', (46.4, 47.5), ('58M', '297G')),
        ('vim_tiny', 'UperNet 60k, 512x512', (41.0,), ('13M', '')),
    ],
)
def test_published_results(model, method, metrics, size):
    result = next(r for r in weights.results(model) if r.method == method)
    assert (tuple(result.metrics.values()), (result.params, result.flops)) == (metrics, size)


def test_doubtful_figures_say_so():
    for model, remark in (('localvim_tiny', '158 G here'), ('localvim_small', '252 G here'), ('vim_tiny', '12.90 M')):
        assert remark in next(r.remark for r in weights.results(model) if r.task == 'ade20k')
    assert '16.0 M' in next(r.remark for r in weights.results('efficientvmamba_tiny') if r.method == 'RetinaNet 1x')
    assert '384 G in the README' in weights.PUBLISHED['vmamba_small_s2l15.mask_rcnn_1x_coco'].remark


def test_the_index_for_mim_lists_every_file():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    files = sorted(path for pattern in index.pop('Import') for path in ROOT.glob(pattern))  # mim too expands wildcards
    assert not index
    assert files == sorted(Path(published.__file__).parent.glob('*.yml'))
    assert files


@pytest.mark.parametrize('collection', weights.COLLECTIONS, ids=lambda c: c.title)
def test_a_variants_name_begins_with_its_familys_word(collection):
    others = [c.prefix for c in weights.COLLECTIONS if c is not collection]
    assert not any(other.startswith(collection.prefix) for other in others)
    assert list_models(f'{collection.prefix}*')
