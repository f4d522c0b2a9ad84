"""`mmvssm export` from the command line."""

import onnx
import pytest

from mmvssm.commands import main


def test_classifier(tmp_path, capsys):
    path = tmp_path / 'a.onnx'
    main(['export', 'test_vim', '--size', '64', '-o', str(path)])
    out = capsys.readouterr().out
    assert out.count('agrees to') == 1, 'five images of one size'
    assert 'the weights are random' in out
    assert [value.name for value in onnx.load(path).graph.output] == ['logits']


@pytest.mark.slow
def test_segmentor_with_a_legend_of_what_it_did(tmp_path, capsys):
    path = tmp_path / 'a.onnx'
    main(['export', 'demo/upernet_localvmamba_demo', '--size', '64', '-o', str(path)])
    out = capsys.readouterr().out
    assert out.count('agrees to') == 1, 'five images of one size'
    assert 'times as fast as torch here' in out
    assert 'the weights are random' in out
    assert 'not in the file' not in out
    model = onnx.load(path)
    assert [value.name for value in model.graph.input] == ['image']
    assert [value.name for value in model.graph.output] == ['scores']


@pytest.mark.slow
def test_detector_says_what_stays_behind(tmp_path, capsys):
    path = tmp_path / 'a.onnx'
    main(['export', 'demo/mask_rcnn_localvmamba_nuclei', '--size', '128', '-o', str(path)])
    assert 'not in the file: the choice of boxes' in capsys.readouterr().out
    names = [value.name for value in onnx.load(path).graph.output]
    assert names == [f'{kind}{i}' for kind in ('map', 'score', 'box') for i in range(5)]


WRONG = {
    'size': (['test_vim', '--size', '7'], '--size 7 is no size'),
    'model': (['vmamba_tny'], 'did you mean'),
    'checkpoint': (['test_vim', 'nowhere.pth'], 'there is no checkpoint file'),
    'suffix': (['test_vim', '-o', 'a.pth'], 'a.pth: the name of such a file ends with .onnx'),
}


@pytest.mark.parametrize('what', WRONG)
def test_wrong_words(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words, message = WRONG[what]
    with pytest.raises(SystemExit) as stop:
        main(['export', *words])
    assert message in stop.value.code
    assert list(tmp_path.iterdir()) == []
