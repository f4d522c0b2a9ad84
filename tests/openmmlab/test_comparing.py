"""Runs beside each other: names, tables, differences, JSON."""

import json
from pathlib import Path

import pytest

from mmvssm.errors import UsageError
from mmvssm.openmmlab import comparing
from mmvssm.openmmlab.runs import Run, Score
from tests.openmmlab.test_runs import training, write


def run(**fields) -> Run:
    return Run(Path('x'), **fields)


def test_same_names_are_told_apart(tmp_path):
    for name in ('a/run', 'b/run', 'b/other'):
        write(tmp_path / name, (training(10), ''))
    found, _ = comparing.read([str(tmp_path / 'a/run'), str(tmp_path / 'b/*'), str(tmp_path / 'a/../a/run')])
    assert list(found) == ['a/run', 'b/other', 'b/run']


def test_folders_that_are_no_runs_are_told(tmp_path):
    write(tmp_path / 'run', (training(10), ''))
    (tmp_path / 'empty').mkdir()
    found, others = comparing.read([str(tmp_path / '*')])
    assert list(found) == ['run']
    assert len(others) == 1
    with pytest.raises(UsageError, match='empty: no vis_data'):
        comparing.read([str(tmp_path / 'empty')])
    with pytest.raises(UsageError, match='nothing has a name like this'):
        comparing.read([str(tmp_path / 'z*')])


DETECTOR = run(
    state='stopped',
    iteration=900,
    epoch=9,
    length=12,
    loss=0.51234,
    memory=5000,
    scores={'coco/bbox_mAP': Score(0.41, 8, 0.4, 9), 'coco/bbox_mAP_50': Score(0.6, 8, 0.6, 9)},
)
SEGMENTOR = run(state='done', iteration=160000, length=160000, scores={'mIoU': Score(47.93, 144000, 47.3, 160000)})


def test_runs_of_different_tasks_stand_side_by_side_with_gaps():
    found = {'det': DETECTOR, 'seg': SEGMENTOR}
    lines = comparing.table(found, comparing.main_scores(found)).splitlines()
    assert [line.split('  ')[0] for line in lines] == ['run', 'det', 'seg']
    columns = [[cell for cell in line.split('  ') if cell.strip()] for line in lines]
    assert [cell.strip() for cell in columns[0]] == [
        *('run', 'state', 'coco/bbox_mAP best', 'coco/bbox_mAP last', 'mIoU best', 'mIoU last', 'loss', 'memory')
    ]
    cells = [cell.strip() for cell in columns[1]]
    assert cells == ['det', 'stopped, epoch 9 of 12', '0.41 at epoch 8', '0.4', '-', '-', '0.5123', '5000 MB']
    cells = [cell.strip() for cell in columns[2]]
    assert cells == ['seg', 'done, iteration 160000', '-', '-', '47.93 at 144000', '47.3', '-', '-']


def test_metrics_by_the_end_of_their_names():
    assert comparing.main_scores({'det': DETECTOR}, ['bbox_mAP_50']) == ['coco/bbox_mAP_50']
    assert comparing.main_scores({'own': run(scores={'score': Score(1, 1, 1, 1)})}) == ['score']


def test_only_what_differs_is_told():
    one = run(settings={'a.b': 1, 'c': [1, 2], 'd': 'x'}, versions={'PyTorch': '2.9'})
    two = run(settings={'a.b': 1, 'c': (1, 2), 'd': 'y', 'e': None}, versions={'PyTorch': '2.8'})
    found = {'one': one, 'two': two, 'without a config': run()}
    assert comparing.differences(found) == {
        '(PyTorch)': {'one': '2.9', 'two': '2.8'},
        'd': {'one': 'x', 'two': 'y'},
        'e': {'two': None},
    }
    words = comparing.differences_in_words(found, comparing.differences(found)).splitlines()
    assert words[-1].split() == ['e', '-', 'None', '-']


def test_long_values_are_cut_and_whole_in_the_json():
    path = '/a/very/long/path/' * 9
    found = {'one': run(settings={'data_root': path}), 'two': run(settings={'data_root': 'b'})}
    differing = comparing.differences(found)
    assert max(map(len, comparing.differences_in_words(found, differing).splitlines())) < 60
    assert comparing.as_json(found, differing)['differences']['data_root']['one'] == path


def test_long_values_are_cut_where_they_differ():
    differing = {'directions': {name: f'/tmp/of/all/the/runs/{name}/directions.json' for name in ('one', 'two')}}
    words = comparing.differences_in_words({'one': run(), 'two': run()}, differing)
    assert words.splitlines()[1].split() == ['directions', '..one/directions.json', '..two/directions.json']


def test_json_has_null_where_there_is_no_number():
    content = comparing.as_json({'one': run(curves={'loss': ([1], [float('nan')])})}, {})
    assert json.loads(json.dumps(content, allow_nan=False))['runs']['one']['curves']['loss'] == [[1], [None]]
