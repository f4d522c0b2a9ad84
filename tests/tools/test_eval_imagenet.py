"""`tools/eval_imagenet.py` on a generated folder of images whose right answers are known."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmvssm import create_model, weights
from tests.tools.load import load

tool = load('eval_imagenet')

IMAGES = {f'n{i:08d}': i + 1 for i in range(7)}  # class folder -> number of images, 28 in all


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp('imagenet')
    rng = np.random.default_rng(0)
    for name, count in IMAGES.items():
        (root / 'val' / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(0, 255, (40 + i, 50, 3), dtype=np.uint8)).save(
                root / 'val' / name / f'{i}.png'
            )
    return root


@pytest.fixture(scope='module')
def prejudiced(tmp_path_factory):
    """Weights that rank the classes 6, 5, ..., 0 whatever the image."""
    state = create_model('test_vmamba', num_classes=7).state_dict()
    state['classifier.head.weight'].zero_()
    state['classifier.head.bias'].copy_(torch.arange(7.0))
    path = tmp_path_factory.mktemp('weights') / 'x.pth'
    torch.save({'model': state}, path)
    return path


def run(capsys, *args):
    code = tool.main(['test_vmamba', '--img-size', '32', '--workers', '0', '--device', 'cpu', *map(str, args)])
    return code, *capsys.readouterr()


@pytest.mark.parametrize('extra', [(), ('--batch-size', 5), ('--amp',)], ids=['default', 'ragged batches', 'amp'])
@pytest.mark.parametrize('folder', ['.', 'val'])
def test_accuracy_is_that_of_the_known_answers(capsys, images, prejudiced, folder, extra):
    code, out, err = run(capsys, '--data', images / folder, '--pretrained', prejudiced, *extra)
    assert code == 0
    assert f'top-1 {700 / 28:.2f}, top-5 {100 * (7 + 6 + 5 + 4 + 3) / 28:.2f} on 28 images' in out
    assert 'batch' in err  # the progress bar


def test_without_weights_it_runs(capsys, images):
    code, out, _ = run(capsys, '--data', images)
    assert code == 0
    assert 'on 28 images' in out


def test_published_figures_stand_beside(capsys, images, prejudiced, monkeypatch):
    entry = weights.Checkpoint(
        name='test_vmamba.in1k',
        model='test_vmamba',
        task='imagenet',
        metrics={'top1': 12.3},
        url=prejudiced.as_uri(),
        license='MIT',
        num_params=1,
        default=True,
    )
    monkeypatch.setitem(weights.PUBLISHED, entry.name, entry)
    _, out, _ = run(capsys, '--data', images, '--pretrained')
    assert 'top-1 25.00' in out
    assert 'published: top1 12.3' in out


def test_a_classifier_of_other_classes_is_refused(capsys, images, tmp_path):
    torch.save(create_model('test_vmamba', num_classes=10).state_dict(), tmp_path / 'x.pth')
    code, _, err = run(capsys, '--data', images, '--pretrained', tmp_path / 'x.pth')
    assert code == 1
    assert 'another number of classes' in err


@pytest.mark.parametrize('make', [False, True], ids=['missing', 'empty'])
def test_a_folder_without_classes(capsys, tmp_path, make):
    if make:
        (tmp_path / 'images').mkdir()
    code, _, err = run(capsys, '--data', tmp_path / 'images')
    assert code == 1
    assert 'no class folders' in err


def test_classes_without_images(capsys, tmp_path):
    (tmp_path / 'n0').mkdir()
    code, _, err = run(capsys, '--data', tmp_path)
    assert code == 1
    assert '0 images' in err


def test_a_variant_without_weights(capsys, images):
    code, _, err = run(capsys, '--data', images, '--pretrained')
    assert code == 1
    assert 'test_vmamba' in err
