import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from mmvssm.demo.shapes import CLASSES, MIN_VISIBLE, _inside, coco_annotations, draw_scene, write


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp('demo'), train=6, val=3)


def test_scene_follows_from_its_seed():
    first, again, other = draw_scene((3, 1)), draw_scene((3, 1)), draw_scene((3, 2))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.masks, again.masks)
    assert (first.image != other.image).any()


def test_visible_masks_do_not_overlap():
    for seed in range(10):
        assert draw_scene(seed).masks.sum(0).max() == 1


def test_some_objects_hide_parts_of_others():
    """Scenes must hold real occlusion, or masks could be read off boxes."""
    fills = [m.sum() / (np.ptp(np.argwhere(m), 0) + 1).prod() for s in range(30) for m in draw_scene(s).masks]
    assert min(fills) < 0.3
    assert 0 < MIN_VISIBLE < 1


def test_every_class_occurs_equally_often():
    labels = np.concatenate([draw_scene(seed).labels for seed in range(150)])
    share = np.bincount(labels, minlength=len(CLASSES)) / len(labels)
    assert share.min() > 0.18
    assert share.max() < 0.32


def test_colour_does_not_give_the_class_away():
    colours, labels = [], []
    for seed in range(150):
        scene = draw_scene(seed)
        colours += [scene.image[mask].mean(0) for mask in scene.masks]
        labels += list(scene.labels)
    colours, labels = np.array(colours), np.array(labels)
    centres = np.stack([colours[labels == label].mean(0) for label in range(len(CLASSES))])
    nearest = ((colours[:, None] - centres) ** 2).sum(-1).argmin(-1)
    assert (nearest == labels).mean() < 0.38


@pytest.mark.parametrize(
    ('label', 'area'),
    [(0, np.pi * 0.85**2), (1, 3 * 3**0.5 / 4), (3, np.pi * (0.92**2 - 0.4**2))],
    ids=['disc', 'triangle', 'ring'],
)
def test_area_of_outline(label, area):
    y, x = (np.mgrid[:801, :801] - 400) / 400
    assert _inside(label, x, y).mean() * 4 == pytest.approx(area, rel=0.01)


def test_star_has_tips_and_notches():
    angles = np.arange(10) * np.pi / 5
    inside = _inside(CLASSES.index('star'), 0.6 * np.cos(angles), 0.6 * np.sin(angles))
    assert inside.tolist() == [True, False] * 5


def test_annotations_describe_the_visible_pixels():
    scene = draw_scene(11)
    for mask, record in zip(scene.masks, coco_annotations(scene, 1, 1)):
        x, y, w, h = record['bbox']
        inside = np.zeros_like(mask)
        inside[y : y + h, x : x + w] = True
        assert record['area'] == mask.sum()
        assert not (mask & ~inside).any()
        assert all(edge.any() for edge in (mask[y], mask[y + h - 1], mask[:, x], mask[:, x + w - 1]))


def test_both_formats_tell_the_same(folder):
    coco = COCO(folder / 'annotations' / 'instances_val.json')
    names = json.loads((folder / 'classes.json').read_text())
    assert list(names.values()) == ['background', *CLASSES]
    for image_id, record in coco.imgs.items():
        label_image = np.asarray(Image.open(folder / f'annotations/validation/{record["file_name"][:-4]}.png'))
        from_coco = np.ones_like(label_image)
        for annotation in coco.imgToAnns[image_id]:
            name = coco.cats[annotation['category_id']]['name']
            from_coco[coco.annToMask(annotation).astype(bool)] = 2 + CLASSES.index(name)
        np.testing.assert_array_equal(label_image, from_coco)


def test_splits_share_no_image(folder):
    files = list(folder.glob('images/*/*.jpg'))
    assert len(files) == 9
    assert len({f.read_bytes() for f in files}) == 9


def test_writing_again_changes_nothing(folder):
    before = (folder / 'images/training/00000.jpg').stat().st_mtime_ns
    write(folder, train=6, val=3)
    assert (folder / 'images/training/00000.jpg').stat().st_mtime_ns == before


def test_a_folder_left_half_written_is_completed(tmp_path):
    write(tmp_path, train=2, val=1)
    (tmp_path / 'recipe.json').unlink()
    (tmp_path / 'images/training/00001.jpg').unlink()
    write(tmp_path, train=2, val=1)
    assert (tmp_path / 'images/training/00001.jpg').is_file()
