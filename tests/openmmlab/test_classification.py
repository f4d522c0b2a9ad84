"""Classifiers: timm's pipeline under mmengine's Runner, and a search for scan directions on a folder of images."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS, MODELS
from PIL import Image

from mmvssm import commands, configs, create_model, directions
from mmvssm.openmmlab import data

COLOURS = dict(red=(200, 30, 30), green=(30, 200, 30), blue=(30, 30, 200))
CONFIG = """
_base_ = ['{base}']
model = dict(backbone=dict(_delete_=True, type='mmvssm.LocalVMamba', arch='test_localvmamba'))
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=dict(size=32))
val_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=dict(size=32))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=1)
search = {{'model.backbone.dims': [8, 16, 24, 32], 'train_cfg.max_epochs': 2, 'param_scheduler.1.end': 30}}
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """ImageNet's layout, three classes; and a small config of the published recipe."""
    folder, rng = tmp_path_factory.mktemp('images'), np.random.default_rng(0)
    for split, number in (('train', 4), ('val', 2)):
        for name, colour in COLOURS.items():
            (folder / split / name).mkdir(parents=True)
            for i in range(number):
                pixels = rng.normal(colour, 40, (50, 60, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f'{i}.jpg')
    (folder / 'small.py').write_text(CONFIG.format(base=configs.FOLDER / 'imagenet_localvmamba_t.py'))
    return folder


def test_a_search_then_a_training_then_a_test(folder, tmp_path, capsys):
    given = ['--data', str(folder)]
    commands.main(['search', str(folder / 'small.py'), *given, '--work-dir', str(tmp_path / 'search')])
    found = directions.read(tmp_path / 'search/directions.json')
    assert (len(found.layers), found.about['model']) == (5, 'test_localvmamba')
    assert (tmp_path / 'search/epoch_2.pth').exists()
    searched = str(tmp_path / 'search/searched.py')
    commands.main(['train', searched, *given, '--work-dir', str(tmp_path / 'train')])
    checkpoint = str(tmp_path / 'train/epoch_1.pth')
    commands.main(['test', searched, checkpoint, *given, '--work-dir', str(tmp_path / 'test')])
    assert 'accuracy/top1' in capsys.readouterr().out


def classifier(**more):
    torch.manual_seed(0)
    backbone = dict(type='mmvssm.LocalVMamba', arch='test_localvmamba')
    return MODELS.build(dict(type='mmvssm.ImageClassifier', backbone=backbone, num_classes=7, **more))


def test_the_classifier_is_the_backbones_own():
    model, x = classifier().eval(), torch.randn(2, 3, 40, 48)
    own = create_model('test_localvmamba', num_classes=7).eval()
    own.load_state_dict(model.backbone.state_dict())
    assert torch.equal(model(x), own(x))
    assert torch.equal(model(x, mode='predict')[1], own(x).topk(5).indices[1])


@pytest.mark.parametrize('number', [4, 3])
def test_images_are_mixed_where_their_number_is_even(number):
    model, x, labels = classifier(mixup=0.2, cutmix=1.0), torch.randn(number, 3, 32, 32), torch.arange(number)
    before = x.clone()
    assert model(x, labels, mode='loss')['loss'].isfinite()
    assert torch.equal(x, before) == (number == 3)


def test_without_mixing_the_loss_is_smoothed_cross_entropy():
    model, x, labels = classifier(label_smoothing=0.2).eval(), torch.randn(2, 3, 32, 32), torch.tensor([1, 6])
    wanted = torch.nn.functional.cross_entropy(model(x), labels, label_smoothing=0.2)
    torch.testing.assert_close(model(x, labels, mode='loss')['loss'], wanted)


def test_the_folder_gives_normalised_images_and_numbers_of_sorted_classes(folder):
    images = DATASETS.build(dict(type='mmvssm.ImageFolder', root=str(folder / 'val'), size=32))
    assert images.metainfo == dict(classes=('blue', 'green', 'red'))
    assert [int(image['labels']) for image in images] == [0, 0, 1, 1, 2, 2]
    assert images[5]['inputs'].shape == (3, 32, 32)
    assert images[5]['inputs'].mean((1, 2)).argmax() == 0
    assert abs(images[5]['inputs']).max() < 3


def test_accuracy_counts_places():
    metric = METRICS.build(dict(type='mmvssm.TopAccuracy'))
    likeliest = [torch.tensor(five) for five in ([3, 1, 2, 4, 5], [1, 3, 2, 4, 5], [6, 1, 2, 4, 5])]
    metric.process(dict(labels=torch.tensor([3, 3, 3])), likeliest)
    assert metric.compute_metrics(metric.results) == pytest.approx(dict(top1=100 / 3, top5=200 / 3))


def pointed(folder):
    cfg = Config.fromfile(configs.find('imagenet_localvim_t'))
    data.point_to(cfg, str(folder))
    return cfg


def test_the_data_are_told_before_training(folder):
    report = data.check(pointed(folder), 'train')
    assert (report.images, dict(report.classes)) == ({'train': 12}, dict(red=4, green=4, blue=4))
    assert report.sizes == {(60, 50): 12}


def copied(folder, target, change):
    import shutil

    shutil.copytree(folder, target)
    change(target)
    return target


WRONG = {
    'no classes': (lambda f: [p.rename(f / p.name) for p in (f / 'val').iterdir()], 'wanted: train/CLASS'),
    'another class': (lambda f: (f / 'val/red').rename(f / 'val/pink'), "class 'pink' is not in"),
    'a class is missing': (lambda f: (f / 'val/red').rename(f / 'red'), "has no folder for class 'red'"),
    'a broken image': (lambda f: (f / 'train/red/0.jpg').write_bytes(b'x'), r'red/0\.jpg cannot be read'),
}


@pytest.mark.parametrize('case', WRONG)
def test_a_wrong_folder_is_told_in_words(folder, tmp_path, case):
    change, says = WRONG[case]
    with pytest.raises(data.DataError, match=says):
        data.check(pointed(copied(folder, tmp_path / 'd', change)), 'train')


def test_the_number_of_classes_must_be_the_models(folder):
    cfg = pointed(folder)
    cfg.model.num_classes = 5
    with pytest.raises(data.DataError, match=r'has 3 classes, the model 5: write model\.num_classes=3'):
        data.check(cfg, 'val')


def test_without_the_data_set_its_place_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(data.DataError, match=r'data/imagenet/train(.|\n)*image-net\.org(.|\n)*on your own'):
        data.check(Config.fromfile(configs.find('imagenet_localvmamba_t')), 'train')


@pytest.mark.parametrize(
    ('given', 'says'),
    [
        (dict(type='mmvssm.Nothing'), "backbone.type='Nothing' is not supported"),
        (dict(type='mmvssm.VMamba', arch='huge'), "backbone.arch='huge' is not supported"),
    ],
    ids=['family', 'variant'],
)
def test_an_unknown_backbone_is_an_error(given, says):
    with pytest.raises(ValueError, match=says):
        MODELS.build(dict(type='mmvssm.ImageClassifier', backbone=given))


@pytest.mark.parametrize('name', ['imagenet_localvmamba_t', 'imagenet_localvmamba_s', 'imagenet_localvim_t'])
def test_the_published_searches_are_the_named_supernets(name):
    from mmvssm.openmmlab import searching

    path = configs.find(name)
    cfg = Config.fromfile(path)
    searching.prepare(cfg, path, searching.Options())
    with torch.device('meta'):
        found = MODELS.build(cfg.model).backbone
        family, size = name.removeprefix('imagenet_').split('_')
        wanted = create_model(f'{family}_{dict(t="tiny", s="small")[size]}_search')
    assert cfg.train_cfg.max_epochs == 100
    assert {k: v.shape for k, v in found.state_dict().items()} == {k: v.shape for k, v in wanted.state_dict().items()}
