"""COCO's average precision by faster-coco-eval: the numbers of pycocotools, to the last digit that is printed."""

import builtins
import contextlib
import copy
import io
import json

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import METRICS, init_default_scope
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import mmvssm.openmmlab  # noqa: F401
from mmvssm.demo import nuclei
from mmvssm.errors import UsageError
from mmvssm.openmmlab import coco_metric

CLASSES = ('round', 'long', 'other', 'never seen')


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmdet')


@pytest.fixture(scope='module')
def truth(tmp_path_factory):
    """The annotations of the embedded nuclei, told apart into classes, some of them crowds; images of three sizes."""
    content = json.loads((nuclei.SOURCE / 'instances_val.json').read_text())
    content['categories'] = [dict(id=number, name=name) for number, name in zip((3, 7, 8, 20), CLASSES)]
    for number, one in enumerate(content['annotations']):
        one['category_id'] = (3, 7, 8)[number % 3]
        one['iscrowd'] = int(number % 11 == 0)
        one['area'] *= (0.3, 1.0, 30.0)[number % 7 % 3]  # areas of small, medium and large objects
    path = tmp_path_factory.mktemp('truth') / 'truth.json'
    path.write_text(json.dumps(content))
    return path


def quiet(make, *args, **kwargs):
    with contextlib.redirect_stdout(io.StringIO()):
        return make(*args, **kwargs)


@pytest.fixture(scope='module')
def found(truth):
    """What a fair detector finds: shifted masks, false ones, doubles, equal scores, more than 100 on an image."""
    rng, coco, found = np.random.default_rng(0), quiet(COCO, truth), []
    for image in coco.loadImgs(coco.getImgIds()):
        for one in coco.loadAnns(coco.getAnnIds(image['id'])):
            mask = coco.annToMask(one)
            for _ in range(rng.integers(0, 4)):
                shifted = np.roll(mask, rng.integers(-3, 4, 2), (0, 1))
                segmentation = rle.encode(np.asfortranarray(shifted))
                found.append(
                    dict(
                        image_id=image['id'],
                        category_id=one['category_id'] if rng.random() < 0.8 else int(rng.choice([3, 7, 8, 20])),
                        bbox=rle.toBbox(segmentation).tolist(),
                        segmentation=dict(segmentation, counts=segmentation['counts'].decode()),
                        score=round(rng.random(), 2),
                    )
                )
    return found


class TestWithThePackage:
    @pytest.mark.parametrize('most', [[100, 300, 1000], [1, 10, 100], [5, 50, 100]], ids=str)
    @pytest.mark.parametrize('classes', [1, 0], ids=['of classes', 'of all'])
    @pytest.mark.parametrize('kind', ['bbox', 'segm'])
    def test_every_number_is_that_of_pycocotools(self, kind, classes, most, truth, found):
        tables = []
        for evaluation in (COCOeval, coco_metric._faster_evaluation()):
            gt = quiet(COCO, truth)
            # mmdet takes the boxes away, so that areas are those of the masks
            own = [{k: v for k, v in one.items() if kind == 'bbox' or k != 'bbox'} for one in copy.deepcopy(found)]
            scores = evaluation(gt, quiet(gt.loadRes, own), kind)
            scores.params.useCats, scores.params.maxDets = classes, most
            for step in (scores.evaluate, scores.accumulate, scores.summarize):
                quiet(step)
            tables.append((scores.stats, scores.eval['precision'], scores.eval['recall']))
        theirs, ours = tables
        assert 0.05 < theirs[0][0] < 0.95
        assert (theirs[0][3:6] > 0).all()
        assert np.array_equal(ours[2], theirs[2])
        # pycocotools adds 2^-52 to a denominator: one hit out of one is not quite 1 there
        assert np.array_equal(ours[1], np.where(theirs[1] == 1 - 2**-52, 1, theirs[1]))
        np.testing.assert_allclose(ours[0], theirs[0], rtol=0, atol=1e-15)

    def test_mmdets_metric_says_the_same(self, truth, found):
        results = [evaluated(truth, found, coco_eval) for coco_eval in coco_metric.EVALUATIONS]
        assert results[0] == results[1]
        assert {'coco/bbox_mAP', 'coco/segm_mAP_s', 'coco/round_precision'} <= set(results[0])

    def test_pycocotools_is_back_in_place_afterwards(self, truth, found):
        from mmdet.evaluation.metrics import coco_metric as module

        evaluated(truth, found, 'faster')
        assert module.COCOeval is COCOeval


def evaluated(truth, found, coco_eval: str) -> dict:
    given = dict(ann_file=str(truth), metric=['bbox', 'segm'], classwise=True, coco_eval=coco_eval)
    metric = quiet(METRICS.build, dict(type='mmvssm.CocoMetric', **given))
    metric.dataset_meta = dict(classes=CLASSES)
    label = {3: 0, 7: 1, 8: 2, 20: 3}
    for image in metric._coco_api.imgs.values():
        own = [one for one in found if one['image_id'] == image['id']]
        boxes = np.array([one['bbox'] for one in own]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        prediction = dict(
            img_id=image['id'],
            bboxes=boxes,
            scores=np.array([one['score'] for one in own]),
            labels=np.array([label[one['category_id']] for one in own], int),
            masks=[one['segmentation'] for one in own],
        )
        metric.results.append((dict(img_id=image['id'], width=256, height=256), prediction))
    scores = quiet(metric.evaluate, size=len(metric.results))
    return {key: -1.0 if np.isnan(value) else float(value) for key, value in scores.items()}


@pytest.fixture
def missing(monkeypatch):
    """The package is not installed."""
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith('faster_coco_eval'):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    coco_metric._faster_evaluation.cache_clear()
    monkeypatch.setattr(builtins, '__import__', without)
    yield
    coco_metric._faster_evaluation.cache_clear()


def config(*kinds: str) -> Config:
    evaluators = [dict(type=kind) for kind in kinds]
    return Config(dict(test_evaluator=evaluators, val_evaluator=evaluators[0]))


def test_without_the_package_a_line_says_what_to_install(missing):
    with pytest.raises(UsageError, match=r'pip install "mmvssm\[faster\]"'):
        coco_metric.choose(config('CocoMetric'), ('test',), 'faster')


def test_an_evaluation_that_there_is_not():
    with pytest.raises(UsageError, match=r"coco_eval='fast' is not supported; allowed: pycocotools, faster"):
        METRICS.build(dict(type='mmvssm.CocoMetric', coco_eval='fast'))


@pytest.mark.parametrize('given', [('pycocotools', False), (None, True)])
def test_another_evaluator(given):
    with pytest.raises(UsageError, match='evaluated by VOCMetric, CityScapesMetric, not by CocoMetric'):
        coco_metric.choose(config('VOCMetric', 'mmdet.CityScapesMetric'), ('test',), *given)


@pytest.mark.parametrize('name', ['CocoMetric', 'mmdet.CocoMetric', 'mmvssm.CocoMetric'])
def test_the_flags_reach_every_evaluator_of_a_split(name):
    cfg = config(name, 'DumpDetResults')
    coco_metric.choose(cfg, ('test',), 'pycocotools', classwise=True)
    assert cfg.test_evaluator[0] == dict(type='mmvssm.CocoMetric', coco_eval='pycocotools', classwise=True)
    assert cfg.test_evaluator[1] == dict(type='DumpDetResults')
    assert cfg.val_evaluator == dict(type=name)


def test_a_segmentor_has_its_table_in_any_case():
    cfg = config('IoUMetric')
    coco_metric.choose(cfg, ('test',), None, classwise=True)
    assert cfg.test_evaluator[0] == dict(type='IoUMetric')
