"""What was published beside what is measured."""

from dataclasses import replace
from pathlib import Path

import pytest

from mmvssm import configs, targets
from mmvssm.openmmlab import evaluating
from mmvssm.openmmlab.evaluating import Evaluation
from mmvssm.openmmlab.tasks import DETECTION, SEGMENTATION
from mmvssm.targets import Target
from mmvssm.weights.published import PUBLISHED, RESULTS

MASKS = Evaluation(
    'a.mask_rcnn_1x_coco',
    published=dict(box_AP=47.3, mask_AP=42.7),
    measured=dict(box_AP=47.26, mask_AP=42.91),
    images=5000,
    benchmark=5000,
    seconds=61.2,
)
FEW = replace(MASKS, name='b.upernet', published=dict(mIoU=47.9), measured={}, images=11, benchmark=2000, tta=True)
FAILED = Evaluation('c.upernet', error='no weights')


def test_a_table_in_words():
    assert evaluating.in_words(MASKS).splitlines() == [
        'a.mask_rcnn_1x_coco',
        '                 published    measured  difference',
        '  box AP              47.3        47.3        -0.0',
        '  mask AP             42.7        42.9        +0.2',
    ]


def test_what_cannot_be_compared_is_said():
    words = evaluating.in_words(replace(FEW, own=True))
    assert words.startswith('b.upernet, with test-time augmentation\n')
    assert '47.9           -           -' in words
    assert "the authors' training of this config, not of this checkpoint" in words
    assert words.endswith('not comparable: 11 of 2,000 images')


def test_nothing_is_said_where_nothing_was_published():
    assert not evaluating.in_words(replace(MASKS, published={}))


@pytest.mark.parametrize(('change', 'comparable'), [({}, True), (dict(own=True), False), (dict(images=44), False)])
def test_comparable(change, comparable):
    assert replace(MASKS, **change).comparable is comparable


def test_a_table_of_many():
    assert evaluating.markdown([MASKS, FEW, FAILED]).splitlines()[2:] == [
        '| `a.mask_rcnn_1x_coco` | box AP | 47.3 | 47.3 | -0.0 | 5,000 | 61 |',
        '| `a.mask_rcnn_1x_coco` | mask AP | 42.7 | 42.9 | +0.2 | 5,000 | 61 |',
        '| `b.upernet`, TTA | mIoU | 47.9 | - | - | 11 of 2,000 | 61 |',
        '| `c.upernet` | | | failed: no weights | | | |',
    ]


def test_a_file_keeps_it_all(tmp_path):
    evaluating.write(MASKS, tmp_path / 'new/evaluation.json')
    assert evaluating.read(tmp_path / 'new/evaluation.json') == MASKS


def test_another_file_is_an_error(tmp_path):
    (tmp_path / 'a.json').write_text('{"colour": 1}')
    with pytest.raises(ValueError, match=r"a\.json: .*'colour'"):
        evaluating.read(tmp_path / 'a.json')


def test_every_published_figure_of_a_whole_model_has_a_metric():
    known = {'coco': DETECTION.benchmark.metrics, 'ade20k': SEGMENTATION.benchmark.metrics}
    for record in (*PUBLISHED.values(), *RESULTS):
        if record.task in known:
            assert {name.removesuffix('_ms') for name in record.metrics} <= set(known[record.task])


@pytest.mark.parametrize(
    ('name', 'checkpoint', 'figure', 'own'),
    [
        ('vmamba_tiny_s1l8.mask_rcnn_1x_coco', None, 47.3, False),
        ('mask_rcnn_vmamba_t', None, 47.3, False),
        ('mask_rcnn_vmamba_b', 'vmamba_base_s2l15.mask_rcnn_1x_bs8_coco', 49.2, False),
        ('mask_rcnn_vmamba_t', 'mine.pth', 47.3, True),
        ('mask_rcnn_localvmamba_t', 'mine.pth', 46.7, True),
    ],
)
def test_which_figures_a_target_has(name, checkpoint, figure, own):
    record, is_own = evaluating.published_of(targets.find(name, checkpoint))
    assert record.metrics['box_AP'] == figure
    assert is_own is own


def test_a_config_of_ones_own_has_none(tmp_path):
    (tmp_path / 'a.py').write_text('')
    assert evaluating.published_of(Target('a', config=Path(tmp_path / 'a.py'), checkpoint='a.pth')) == (None, True)
    demo = configs.find('demo/upernet_localvmamba_demo')
    assert evaluating.published_of(Target('demo', config=demo, checkpoint='a.pth')) == (None, True)
