"""`mmvssm reproduce`, and what `mmvssm test` says of published figures, on a micro detector with a record."""

import dataclasses
import json

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmvssm.commands import main
from mmvssm.openmmlab import reproducing
from mmvssm.weights import PUBLISHED
from tests.openmmlab import small

NAME = 'micro.mask_rcnn_1x_coco'


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A config, and a checkpoint of it in mmengine's layout."""
    folder = tmp_path_factory.mktemp('reproduce')
    config = small.write(folder, train=1, val=2)
    cfg = Config.fromfile(config)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        state = MODELS.build(cfg.model).state_dict()
    torch.save(dict(state_dict=state, meta=dict(epoch=12)), folder / 'published.pth')
    return config, folder / 'published.pth'


@pytest.fixture
def published(files, monkeypatch):
    """Its record, with an address of a file."""
    config, checkpoint = files
    record = dataclasses.replace(
        PUBLISHED['vmamba_tiny_s1l8.mask_rcnn_1x_coco'], name=NAME, config=str(config), url=checkpoint.as_uri()
    )
    monkeypatch.setitem(PUBLISHED, NAME, record)
    return record


def test_testing_by_name_prints_the_published_figures_beside(published, tmp_path, capfd):
    main(['test', NAME, '--work-dir', str(tmp_path)])
    printed = capfd.readouterr().out
    assert f'{NAME}\n                 published    measured  difference\n  box AP              47.3' in printed
    assert 'not comparable: 2 of 5,000 images' in printed
    kept = json.loads(next(tmp_path.glob('*/evaluation.json')).read_text())
    assert kept['published']['mask_AP'] == 42.7
    assert kept['images'] == 2


def test_many_are_tabled_one_failing_leaves_the_others(published, files, monkeypatch, tmp_path, capfd):
    broken = dataclasses.replace(published, name='gone.mask_rcnn_1x_coco', url=(tmp_path / 'gone.pth').as_uri())
    monkeypatch.setitem(PUBLISHED, broken.name, broken)
    with pytest.raises(SystemExit) as ended:
        main(['reproduce', broken.name, NAME, '--work-dir', str(tmp_path / 'w')])
    assert ended.value.code == 1
    table = (tmp_path / 'w/reproduced.md').read_text()
    assert '| `gone.mask_rcnn_1x_coco` | | | failed: ' in table
    assert f'| `{NAME}` | box AP | 47.3 | ' in table
    assert [one['name'] for one in json.loads((tmp_path / 'w/reproduced.json').read_text())] == [broken.name, NAME]
    assert table in capfd.readouterr().out


def test_what_is_done_is_not_done_again(published, monkeypatch, tmp_path):
    main(['reproduce', NAME, '--work-dir', str(tmp_path)])
    first = (tmp_path / 'reproduced.md').read_text()
    with monkeypatch.context() as patch:
        patch.setattr(reproducing.evaluating, 'evaluate', lambda *args, **settings: pytest.fail('tested again'))
        main(['reproduce', NAME, '--work-dir', str(tmp_path)])
    assert (tmp_path / 'reproduced.md').read_text() == first
    tested = []
    with monkeypatch.context() as patch:
        patch.setattr(
            reproducing.evaluating, 'evaluate', lambda target, **settings: tested.append(target) or _nothing(target)
        )
        main(['reproduce', NAME, '--work-dir', str(tmp_path), '--cfg-options', 'test_dataloader.dataset.indices=1'])
        main(['reproduce', NAME, '--work-dir', str(tmp_path), '--force'])
    assert len(tested) == 2


def _nothing(target):
    return reproducing.Evaluation(target.name)


def test_a_dry_run_says_what_would_be_fetched(capsys):
    main(['reproduce', 'vmamba_tiny_s1l8*', '--dry-run', '--coco', 'here'])
    printed = capsys.readouterr().out
    assert 'vmamba_tiny_s1l8.mask_rcnn_3x_coco: config mask_rcnn_vmamba_t_3x, data here' in printed
    assert 'vmamba_tiny_s1l8.upernet_160k_ade20k: config upernet_vmamba_t, data of the config' in printed
    assert 'https://github.com/MzeroMiko/VMamba/releases' in printed


def test_all_of_them():
    assert len(reproducing.named(['*'])) == len(reproducing.whole_models()) == 21


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        ([], 'which models'),
        ([NAME, '--all'], 'which models'),
        (['vmamba_tiny_s1l8.mask_rcnn_1x_koko'], r'did you mean vmamba_tiny_s1l8\.mask_rcnn_1x_coco'),
        (['vmamba_tiny_s1l8.in1k'], r'is a classifier: `python tools/eval_imagenet\.py`'),
        (['swin*'], r'no published detector or segmentor is called swin\*'),
    ],
    ids=lambda value: ' '.join(value) or 'nothing' if isinstance(value, list) else '',
)
def test_wrong_names(arguments, says):
    with pytest.raises(SystemExit, match=says):
        main(['reproduce', *arguments])
