"""`mmvssm draw`: every kind from the command line, on micro models, and wrong words."""

import pytest
import torch
from PIL import Image

from mmvssm.commands import main
from mmvssm.demo import nuclei, shapes

PICTURE = str(next((nuclei.SOURCE / 'validation').glob('*.png')))
KINDS = {
    'every order': ['scan-paths', '--orders', 'h', 'w7_flip', '--grid', '5x9'],
    'a model': ['scan-paths', 'test_localvim', '--layers', '0', '--image', PICTURE],
    'choices': ['choices', 'test_localvmamba'],
    'erf': ['erf', 'test_vmamba', 'resnet10t', '--size', '64x96', '--number', '1'],
    'erf of images': ['erf', 'test_vil', '--size', '64', '--images', PICTURE],
    'features': ['features', 'test_heracles', PICTURE, '--size', '64'],
    'directions': ['directions', 'test_localvmamba', PICTURE, '--size', '64x96', '--layer', '1'],
    'impulse': ['impulse', 'test_vim', PICTURE, '--size', '64', '--token', '1', '2'],
    "a config's backbone": ['features', 'demo/mask_rcnn_vmamba_nuclei', PICTURE, '--size', '64'],
}


@pytest.mark.parametrize('kind', KINDS)
def test_kind(kind, tmp_path, capsys):
    path = tmp_path / 'picture.png'
    main(['draw', *KINDS[kind], '-o', str(path)])
    assert capsys.readouterr().out.endswith(f'{path}\n')
    assert min(Image.open(path).size) > 200


@pytest.mark.parametrize('task', ['mask_rcnn', 'upernet'])
def test_samples_of_a_training_set(task, tmp_path):
    data = shapes.write(tmp_path / 'data', train=3, val=1)
    words = [f'demo/{task}_localvmamba_demo', '--data', str(data), '--number', '2', '-o', str(tmp_path / 's.png')]
    main(['draw', 'samples', *words])
    assert Image.open(tmp_path / 's.png').width > 600


WRONG = {
    'suffix': (['scan-paths', '-o', 'a.gif'], r'the name of a picture ends with .png'),
    'order': (['scan-paths', '--orders', 'diagonal'], "'diagonal'"),
    'model': (['erf', 'vmamba_tny'], 'did you mean'),
    'image': (['features', 'test_vmamba', 'nowhere.png'], 'nowhere.png: there is no such file'),
    'layer': (['directions', 'test_vmamba', PICTURE, '--size', '64', '--layer', '99'], 'the model has scans 0 to'),
    'token': (['impulse', 'test_vmamba', PICTURE, '--size', '64', '--token', '9', '9'], 'rows are 0 to 3'),
    'file': (['choices', 'nowhere.json'], 'nowhere.json cannot be read'),
    'run': (['curves', 'nowhere'], 'give the work folder of a run'),
}


@pytest.mark.parametrize('what', WRONG)
def test_wrong_words(what, tmp_path):
    words, message = WRONG[what]
    with pytest.raises(SystemExit) as stop:
        main(['draw', *words, *([] if '-o' in words else ['-o', str(tmp_path / 'a.png')])])
    assert message in stop.value.code
    assert len(stop.value.code.splitlines()) <= 2


def test_before_and_after_training(tmp_path, monkeypatch):
    import mmvssm
    from mmvssm.pictures import erf

    path = tmp_path / 'trained.pth'
    torch.save(mmvssm.create_model('test_vmamba').state_dict(), path)
    seen = {}
    monkeypatch.setattr(erf, 'draw_receptive_fields', lambda fields: seen.update(fields) or erf.Figure())
    main(['draw', 'erf', f'test_vmamba={path}', '--size', '64', '--number', '1', '-o', str(tmp_path / 'a.png')])
    assert list(seen) == ['test_vmamba\nrandom weights', 'test_vmamba\ntrained']
