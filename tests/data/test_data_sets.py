"""Checking, splitting and converting data sets: planted oddities are found, values survive there and back."""

import json

import numpy as np
import pytest
from PIL import Image

from mmvssm import data
from mmvssm.commands import main
from mmvssm.demo import nuclei, shapes
from mmvssm.errors import UsageError


@pytest.fixture
def coco(tmp_path):
    return shapes.write(tmp_path / 'shapes', train=5, val=2)


def edited(root, change):
    """The training annotations, changed."""
    path = root / 'annotations/instances_train.json'
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return data.check(root)


def test_a_sound_data_set(coco):
    report = data.check(coco)
    assert (report.layout, report.images, report.fatal) == ('COCO', {'train': 5, 'val': 2}, set())
    assert sum(report.classes.values()) == sum(
        len(json.loads((coco / f'annotations/instances_{name}.json').read_text())['annotations']) for name in ('train', 'val')
    )
    assert report.sizes == {(128, 128): 7}
    assert set(report.odd) <= {'class without objects'}


def first(content):
    return content['annotations'][0]


ODD = {
    'id of several images': (lambda c: c['images'][1].update(id=c['images'][0]['id']), True),
    'id of several annotations': (lambda c: c['annotations'][1].update(id=first(c)['id']), False),
    'category that is not listed': (lambda c: first(c).update(category_id=99), True),
    'annotation of an image that is not listed': (lambda c: first(c).update(image_id=12345), False),
    'box that is none': (lambda c: first(c).update(bbox=[1, 2, 3]), True),
    'box without an area': (lambda c: first(c).update(bbox=[5, 5, 0, 4]), False),
    'box beyond its image': (lambda c: first(c).update(bbox=[100, 100, 50, 10]), False),
    'object without a mask': (lambda c: first(c).pop('segmentation'), False),
    'image without objects': (lambda c: c.update(annotations=c['annotations'][-1:]), False),
    'file that is missing': (lambda c: c['images'][0].update(file_name='nowhere.jpg'), True),
    'image of another size than its record': (lambda c: c['images'][0].update(width=200), False),
    'class without objects': (lambda c: c['categories'].append({'id': 77, 'name': 'unicorn'}), False),
}


@pytest.mark.parametrize('kind', ODD)
def test_an_oddity_is_found(kind, coco):
    change, fatal = ODD[kind]
    report = edited(coco, change)
    assert kind in report.odd
    assert (kind in report.fatal) == fatal


def test_oddities_of_files(coco):
    images = sorted((coco / 'images/training').iterdir())
    images[0].write_bytes(images[0].read_bytes()[:500])
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.open(images[1]).save(images[1], exif=turned)
    report = data.check(coco)
    assert report.odd['file that cannot be read'] == (1, str(images[0]))
    assert report.odd['image turned by EXIF'] == (1, f'{images[1]} (6)')


def test_label_images(tmp_path):
    root = nuclei.write(tmp_path / 'n')
    for path in root.glob('annotations/*.json'):
        path.unlink()
    report = data.check(root)
    assert report.layout == 'label images'
    assert report.images == {'training': 48, 'validation': 16}
    assert report.classes == {'background': 64, 'nucleus': 64}
    labels = sorted((root / 'annotations/training').glob('*.png'))
    Image.fromarray(np.full((256, 256), 7, np.uint8)).save(labels[0])
    Image.fromarray(np.ones((20, 256), np.uint8)).save(labels[1])
    Image.new('RGB', (256, 256)).save(labels[2])
    labels[3].unlink()
    found = data.check(root)
    wanted = ['label out of range', 'of another size than its image', 'in colours', 'without its label image']
    assert all(any(word in kind for kind in found.fatal) for word in wanted)


def test_no_data_set(tmp_path):
    with pytest.raises(UsageError, match='no data set of a known layout'):
        data.check(tmp_path)


@pytest.fixture
def single(tmp_path):
    """One COCO file beside its images."""
    root = tmp_path / 'single'
    (root / 'images').mkdir(parents=True)
    for path in (nuclei.SOURCE / 'validation').iterdir():
        (root / 'images' / path.name).write_bytes(path.read_bytes())
    (root / 'annotations.json').write_bytes((nuclei.SOURCE / 'instances_val.json').read_bytes())
    return root


def test_a_split_has_every_image_and_object_once(single, tmp_path):
    assert data.split(single, tmp_path / 'out', val=0.25, seed=1) == {'val': 4, 'train': 12}
    report = data.check(tmp_path / 'out')
    assert report.images == {'train': 12, 'val': 4}
    assert (report.classes['nucleus'], report.odd) == (310, {})
    again = data.split(single, tmp_path / 'again', val=0.25, seed=1)
    other = data.split(single, tmp_path / 'other', val=0.25, seed=2)
    names = [sorted(p.name for p in (tmp_path / f / 'images/validation').iterdir()) for f in ('out', 'again', 'other')]
    assert names[0] == names[1] != names[2]
    assert again == other


def test_a_split_feeds_training(single, tmp_path):
    from mmengine.config import Config

    from mmvssm import configs
    from mmvssm.openmmlab import data as pointing

    data.split(single, tmp_path / 'out')
    cfg = Config.fromfile(configs.find('demo/mask_rcnn_vmamba_nuclei'))
    pointing.point_to(cfg, str(tmp_path / 'out'))
    for split in ('train', 'val'):
        pointing.check(cfg, split)


def test_coco_to_labels(single, tmp_path):
    assert data.to_labels(single, tmp_path / 'out') == {'images': 16, 'classes': 2}
    whole = nuclei.write(tmp_path / 'whole')
    for path in (tmp_path / 'out/annotations/training').iterdir():
        wanted = np.asarray(Image.open(whole / 'annotations/validation' / path.name))
        assert np.array_equal(np.asarray(Image.open(path)), wanted)


def picture(path, size=(40, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size).save(path)


def converted(root, tmp_path, **options):
    data.to_coco(root, tmp_path / 'out', **options)
    content = json.loads((tmp_path / 'out/annotations.json').read_text())
    names = {one['id']: one['name'] for one in content['categories']}
    return [(names[one['category_id']], one['bbox'], one['area']) for one in content['annotations']]


def test_yolo(tmp_path):
    picture(tmp_path / 'y/images/a.jpg')
    (tmp_path / 'y/labels').mkdir()
    (tmp_path / 'y/labels/a.txt').write_text('1 0.5 0.5 0.25 0.5\n0 0 0 0.5 0 0.5 1 0 1\n')
    (tmp_path / 'y/data.yaml').write_text('names: {0: cat, 1: dog}\n')
    assert converted(tmp_path / 'y', tmp_path, kind='yolo') == [('dog', [15, 5, 10, 10], 100), ('cat', [0, 0, 20, 20], 400)]


def test_voc(tmp_path):
    picture(tmp_path / 'v/JPEGImages/a.jpg')
    box = '<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>11</ymax></bndbox>'
    (tmp_path / 'v/a.xml').write_text(f'<annotation><object><name>cat</name>{box}</object></annotation>')
    assert converted(tmp_path / 'v', tmp_path, kind='voc') == [('cat', [0, 1, 10, 10], 100)]


def test_labelme(tmp_path):
    picture(tmp_path / 'l/a.png')
    shapes_ = [
        {'label': 'cat', 'shape_type': 'rectangle', 'points': [[10, 12], [4, 2]]},
        {'label': 'dog', 'shape_type': 'polygon', 'points': [[0, 0], [10, 0], [0, 10]]},
    ]
    (tmp_path / 'l/a.json').write_text(json.dumps({'shapes': shapes_}))
    assert converted(tmp_path / 'l', tmp_path, kind='labelme') == [('cat', [4, 2, 6, 10], 60), ('dog', [0, 0, 10, 10], 50)]


def test_masks(tmp_path):
    picture(tmp_path / 'm/a.png')
    mask = np.zeros((20, 40), np.uint8)
    mask[2:5, 3:9], mask[10:12, 30:31] = 1, 2
    Image.fromarray(mask).save(tmp_path / 'm/a_mask.png')
    found = converted(tmp_path / 'm', tmp_path, kind='masks', classes=['cell'])
    assert found == [('cell', [3, 2, 6, 3], 18), ('cell', [30, 10, 1, 2], 2)]


WRONG = {
    'exists': (['split', '{root}', '--out', '{root}'], 'exists already'),
    'share': (['split', '{root}', '--out', '{root}/x', '--val', '1.5'], 'val=1.5 must be between 0 and 1'),
    'unsaid': (['convert', '{root}', '--out', '{root}/x'], 'say what it is: --from yolo, voc, labelme or masks'),
    'no annotations': (['convert', '{root}', '--from', 'voc', '--out', '{root}/x'], 'no annotations of the kind voc'),
    'no folder': (['check', '{root}/nowhere'], 'is not a folder'),
}


@pytest.mark.parametrize('what', WRONG)
def test_wrong_words(what, single):
    words, message = WRONG[what]
    with pytest.raises(SystemExit) as stop:
        main(['data', *(word.format(root=single) for word in words)])
    assert message in stop.value.code


def test_command_prints_a_page_and_fails_on_what_stops_training(coco, capsys):
    main(['data', 'check', str(coco)])
    assert f'{coco}: COCO, 5 images of train, 2 images of val' in capsys.readouterr().out
    (coco / 'images/training/00004.jpg').unlink()
    with pytest.raises(SystemExit) as stop:
        main(['data', 'check', str(coco)])
    assert stop.value.code == 1
    assert 'STOPS TRAINING: 1 x file that is missing, first: 00004.jpg' in capsys.readouterr().out
