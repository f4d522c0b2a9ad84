"""`mmvssm predict`, and the predictor behind it, on micro models whose weights are random but whole."""

import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from pycocotools.coco import COCO

from mmvssm import configs
from mmvssm.commands import UsageError, main
from mmvssm.demo import nuclei
from mmvssm.openmmlab import tiles
from mmvssm.openmmlab.found import Found
from mmvssm.openmmlab.predictor import Predictor
from mmvssm.pictures import Instances

CONFIG = {'detector': 'demo/mask_rcnn_localvmamba_demo', 'segmentor': 'demo/upernet_localvmamba_demo'}
CLASSES = {'detector': ('disc', 'ring'), 'segmentor': ('floor', 'wall', 'sky')}
IMAGES = sorted((nuclei.SOURCE / 'validation').glob('*.png'))[:3]


@pytest.fixture(scope='module', params=CONFIG)
def task(request):
    return request.param


@pytest.fixture(scope='module')
def checkpoint(task, tmp_path_factory):
    """Random weights for other classes than the config's, which only the checkpoint knows."""
    cfg = Config.fromfile(configs.find(CONFIG[task]))
    init_default_scope(cfg.default_scope)
    from mmvssm.openmmlab.layouts.layout import set_num_classes

    set_num_classes(cfg.model, len(CLASSES[task]))
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    for name, value in model.named_parameters():
        if 'rpn_cls' in name or 'fc_cls' in name:
            value.data.mul_(30)  # scores far apart: suppression does not hang on the last digit
    path = tmp_path_factory.mktemp(task) / 'random.pth'
    torch.save({'state_dict': model.state_dict(), 'meta': {'dataset_meta': {'classes': CLASSES[task]}}}, path)
    return path


@pytest.fixture(scope='module')
def predictor(task, checkpoint):
    return Predictor(CONFIG[task], str(checkpoint), device='cpu')


def same(one: Found, other: Found) -> bool:
    if one.instances is None:
        return np.array_equal(one.labels, other.labels)
    (*rest, masks, scores), (*other_rest, other_masks, other_scores) = one.instances, other.instances
    alike = all(np.allclose(a, b, atol=1e-4) for a, b in zip([*rest, scores], [*other_rest, other_scores]))
    # a mask is what lies above 0.5: on some processors a last digit moves single pixels over it
    return alike and (np.asarray(masks) != np.asarray(other_masks)).mean() <= 1e-5


def test_classes_are_those_of_the_checkpoint(predictor, task):
    assert predictor.classes == CLASSES[task]


def test_results_are_openmmlab_s(predictor, task):
    found = predictor(IMAGES[0])
    if task == 'detector':
        from mmdet.apis import inference_detector as infer
    else:
        from mmseg.apis import inference_model as infer
    model = predictor.model
    model.cfg = predictor.cfg
    sample = infer(model, cv2.imread(str(IMAGES[0])))
    assert same(found, Found(found.image, found.classes, None, **predictor.task.found(sample)))


def test_an_image_s_result_does_not_depend_on_its_batch(predictor):
    arrays = [np.array(Image.open(path).convert('RGB')) for path in IMAGES]
    arrays[1] = arrays[1][:200]  # another shape between two that are alike
    together = predictor.predict(arrays, batch_size=3)
    assert [one.image.shape for one in together] == [array.shape for array in arrays]
    assert all(same(one, predictor(array)) for one, array in zip(together, arrays))


def test_path_array_and_pil_image_are_the_same(predictor):
    image = Image.open(IMAGES[0]).convert('RGB')
    assert same(predictor(IMAGES[0]), predictor(image))
    assert same(predictor(IMAGES[0]), predictor(np.array(image)))


@pytest.mark.parametrize('image', [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), None], ids=['2-D', 'float', 'None'])
def test_what_is_no_image_says_what_is(predictor, image):
    with pytest.raises(UsageError, match='allowed: a path'):
        predictor(image)


def test_weights_of_another_model_are_refused(task, tmp_path):
    import mmvssm

    torch.save(mmvssm.create_model('test_vmamba').state_dict(), tmp_path / 'other.pth')
    with pytest.raises(mmvssm.weights.CheckpointError, match='does not fit'):
        Predictor(CONFIG[task], str(tmp_path / 'other.pth'), device='cpu')


@pytest.mark.parametrize(('options', 'message'), [({'tile': 8}, 'at least 32'), ({'overlap': 1.0}, 'below 1')], ids=str)
def test_bad_tiles(task, checkpoint, options, message):
    with pytest.raises(UsageError, match=message):
        Predictor(CONFIG[task], str(checkpoint), device='cpu', **options)


def test_tiles_of_a_segmentor_agree_with_the_whole_where_one_tile_holds_it(checkpoint, task):
    if task == 'segmentor':
        tiled = Predictor(CONFIG[task], str(checkpoint), device='cpu', tile=300)
        labels = tiled(IMAGES[0]).labels
        assert labels.shape == (256, 256)
        with torch.no_grad():
            plain = Predictor(CONFIG[task], str(checkpoint), device='cpu')
            plain._pipeline = tiled._pipeline  # at the image's own size
            assert np.array_equal(plain(IMAGES[0]).labels, labels)


@pytest.fixture(scope='module')
def augmented(task, checkpoint):
    return Predictor(CONFIG[task], str(checkpoint), device='cpu', tta=True)


def test_an_augmented_result_does_not_depend_on_its_batch(augmented):
    arrays = [np.array(Image.open(path).convert('RGB')) for path in IMAGES]
    arrays[1] = arrays[1][:201]
    together = augmented.predict(arrays, batch_size=2)
    assert all(same(one, augmented(array)) for one, array in zip(together, arrays))


def test_augmented_labels_of_a_mirror_image_are_the_mirror_image(augmented, task):
    if task == 'segmentor':
        image = np.array(Image.open(IMAGES[0]).convert('RGB'))
        agree = augmented(image).labels == augmented(image[:, ::-1].copy()).labels[:, ::-1]
        assert agree.mean() > 0.99


def test_augmentation_and_tiles(task, checkpoint):
    def tiled():
        return Predictor(CONFIG[task], str(checkpoint), device='cpu', tta=True, tile=160)

    if task == 'segmentor':
        with pytest.raises(UsageError, match='a segmentor takes one of them'):
            tiled()
    else:
        assert tiled()(IMAGES[0]).instances.masks.shape[1:] == (256, 256)


def planted(images) -> list[Found]:
    """Finds bright squares exactly, as far as an image shows them."""
    found = []
    for image in images:
        count, labels, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(image[..., 0]))
        boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, _ in stats[1:]], float).reshape(-1, 4)
        masks = np.array([labels == i for i in range(1, count)]).reshape(-1, *labels.shape)
        zeros = np.zeros(count - 1, int)
        found.append(Found(image, ('square',), None, Instances(boxes, zeros, masks, 0.9 + zeros)))
    return found


def test_objects_of_several_tiles_become_one():
    image = np.zeros((230, 310, 3), np.uint8)
    squares = [(10, 10, 40, 40), (90, 70, 130, 120), (250, 150, 300, 225)]  # the second lies across four tiles
    for left, top, right, bottom in squares:
        image[top:bottom, left:right] = 255
    found = tiles.predict(planted, image, side=100, overlap=0.2).instances
    assert sorted(tuple(int(v) for v in box) for box in found.boxes) == squares
    assert np.array_equal(found.masks.any(0), image[..., 0] > 0)
    assert found.scores.tolist() == [0.9] * 3


def test_tiles_without_objects():
    assert len(tiles.predict(planted, np.zeros((230, 310, 3), np.uint8), side=100, overlap=0.2).instances.boxes) == 0


def run(capsys, *words) -> str:
    main(['predict', *map(str, words), '--device', 'cpu'])
    return capsys.readouterr().out


def test_command_writes_pictures_and_coco(task, checkpoint, tmp_path, capsys):
    (tmp_path / 'in').mkdir()
    for path in IMAGES[:2]:
        (tmp_path / 'in' / path.name).write_bytes(path.read_bytes())
    (tmp_path / 'in/broken.png').write_bytes(b'no')
    out = run(
        capsys, CONFIG[task], checkpoint, tmp_path / 'in', '--out', tmp_path / 'out', '--score', 0.0, '--batch', 2
    )
    assert '1 of 3 inputs could not be read' in out
    assert 'broken.png: it is no image' in out
    assert sorted(path.name for path in (tmp_path / 'out').glob('*.jpg')) == [f'{path.stem}.jpg' for path in IMAGES[:2]]
    coco = COCO(str(tmp_path / 'out/predictions.json'))
    assert tuple(one['name'] for one in coco.cats.values()) == CLASSES[task]
    assert [one['file_name'].rpartition('/')[2] for one in coco.imgs.values()] == [path.name for path in IMAGES[:2]]
    if task == 'segmentor':
        masks = sum(coco.annToMask(one) * one['category_id'] for one in coco.imgToAnns[1])
        assert np.array_equal(masks - 1, np.asarray(Image.open(tmp_path / f'out/labels/{IMAGES[0].stem}.png')))
    else:
        assert all(one['score'] >= 0 and 'segmentation' in one for one in coco.anns.values())


def test_command_films_a_video(task, checkpoint, tmp_path, capsys):
    writer = cv2.VideoWriter(str(tmp_path / 'v.mp4'), cv2.VideoWriter.fourcc(*'mp4v'), 5, (256, 256))
    for path in IMAGES:
        writer.write(cv2.imread(str(path)))
    writer.release()
    run(capsys, CONFIG[task], checkpoint, tmp_path / 'v.mp4', '--out', tmp_path, '--frames', 2, '--no-legend')
    video = cv2.VideoCapture(str(tmp_path / 'v.mp4'))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) in (2, 3)
    content = json.loads((tmp_path / 'predictions.json').read_text())
    assert [one['frame'] for one in content['images']] == [0, 1]


WRONG = {
    'no such model': (['mask_rcnn_vmmba_t', str(IMAGES[0])], 'did you mean mask_rcnn_vmamba_t'),
    'a backbone': (
        ['vmamba_tiny_s1l8', str(IMAGES[0])],
        'is a backbone, not a detector or segmentor: give vmamba_tiny',
    ),
    'nothing published': (['demo/mask_rcnn_vmamba_nuclei', str(IMAGES[0])], 'has no published checkpoint'),
    'no input': (['demo/mask_rcnn_vmamba_nuclei', 'a.pth'], 'is a checkpoint: give images'),
    'no such input': (['demo/mask_rcnn_vmamba_nuclei', 'a.pth', 'a.png'], 'a.png: there is no such file'),
    'no such checkpoint': (['demo/mask_rcnn_vmamba_nuclei', 'a.pth', str(IMAGES[0])], 'there is no checkpoint file'),
    'score': (['x', 'a.png', '--score', '2'], '--score 2.0 must be from 0 to 1'),
    'batch': (['x', 'a.png', '--batch', '0'], '--batch 0 must be at least 1'),
    'device': (['demo/mask_rcnn_vmamba_nuclei', 'a.pth', str(IMAGES[0]), '--device', 'gpu'], '--device gpu'),
}


@pytest.mark.parametrize('what', WRONG)
def test_wrong_arguments(what):
    words, message = WRONG[what]
    with pytest.raises(SystemExit) as stop:
        main(['predict', *words])
    assert message in stop.value.code
    assert len(stop.value.code.splitlines()) <= 2
