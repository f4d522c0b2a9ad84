"""`mmvssm compare`: from work folders to tables, a picture and JSON."""

import json

import pytest
from PIL import Image

from mmvssm.commands import main
from tests.openmmlab.test_runs import CONFIG, training, write


@pytest.fixture
def two(tmp_path):
    for name, loss, miou in (('one', 1.0, 40.0), ('two', 2.0, 41.5)):
        lines = [*training(10, 20, 30, loss=loss), dict(mIoU=miou, step=30)]
        write(tmp_path / name, (lines, ''), config=CONFIG + f'load_from = {name!r}\n')
    (tmp_path / 'neither').mkdir()
    return tmp_path


def test_tables_picture_and_json(two, monkeypatch, capsys):
    monkeypatch.chdir(two)
    main(['compare', 'one', 'two', 'neither'])
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines() if line] == [
        *('run', 'one', 'two', 'setting', 'load_from', 'compare.png', 'compare.json')
    ]
    assert err.startswith('left out: neither: no vis_data/scalars.json in it')
    assert Image.open('compare.png').width > 600
    content = json.loads((two / 'compare.json').read_text())
    assert content['runs']['two']['scores']['mIoU'] == dict(best=41.5, best_at=30, last=41.5, last_at=30)
    assert content['differences'] == {'load_from': {'one': 'one', 'two': 'two'}}


def test_files_where_they_are_wanted(two, capsys):
    main(['compare', str(two / 'one'), '-o', str(two / 'a/b.svg'), '--json', str(two / 'c/d.json')])
    assert (two / 'a/b.svg').is_file()
    assert (two / 'c/d.json').is_file()
    assert 'setting' not in capsys.readouterr().out


WRONG = {
    'suffix': (['one', '-o', 'a.gif'], 'the name of a picture ends with .png'),
    'quantity': (['one', '--show', 'mAP'], 'no run has a quantity mAP; there are loss'),
    'no run': (['neither'], 'neither: no vis_data/scalars.json in it'),
}


@pytest.mark.parametrize('what', WRONG)
def test_wrong_words(what, two, monkeypatch):
    monkeypatch.chdir(two)
    words, message = WRONG[what]
    with pytest.raises(SystemExit) as stop:
        main(['compare', *words])
    assert message in stop.value.code
    assert not (two / 'compare.png').exists()
