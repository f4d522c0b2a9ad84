"""Segmentors on several views, in whole and by windows: against means that are taken here."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor

import mmvssm.openmmlab  # noqa: F401
from tests.openmmlab.test_config_models import load, shrink

SIZE = 75, 101
AXES = {None: (), 'horizontal': (-1,), 'vertical': (-2,)}
VIEWS = [(1.0, None), (1.0, 'horizontal'), (0.77, 'vertical'), (1.3, 'horizontal')]
# windows: (height, width), steps; of odd sides, larger than the image on one side or both, next to each other
WINDOWS = {
    'odd': ((33, 41), (17, 23)),
    'even': ((32, 32), (16, 16)),
    'side by side': ((37, 37), (37, 37)),
    'one pixel on': ((64, 90), (63, 89)),
    'larger': ((200, 201), (11, 13)),
    'wider': ((32, 300), (31, 7)),
    'the image': (SIZE, SIZE),
}


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmseg')
    torch.manual_seed(0)


def segmentor(test_cfg=None, **head):
    cfg = shrink(load('upernet_vmamba_t'))
    cfg.model.decode_head.update(num_classes=5, **head)
    cfg.model.auxiliary_head.num_classes = 5
    if head:
        cfg.model.pop('auxiliary_head')
    cfg.model.test_cfg = test_cfg or dict(mode='whole')
    model = MODELS.build(cfg.model).eval()
    for parameter in model.decode_head.conv_seg.parameters():
        parameter.data.mul_(10)
    return model


def slide(window, stride) -> dict:
    return dict(mode='slide', crop_size=window, stride=stride)


def view(image: Tensor, scale: float, flip: str | None) -> tuple[Tensor, dict]:
    size = tuple(round(side * scale) for side in SIZE)
    resized = F.interpolate(image[None].float(), size, mode='nearest')[0].flip(AXES[flip])
    return resized, dict(ori_shape=SIZE, img_shape=size, flip=flip is not None, flip_direction=flip)


@torch.no_grad()
def merged(model, image: Tensor, views: list) -> object:
    from mmseg.structures import SegDataSample

    looks = [view(image, *one) for one in views]
    data = dict(inputs=[[look] for look, _ in looks], data_samples=[[SegDataSample(metainfo=m)] for _, m in looks])
    augmented = MODELS.build(dict(type='mmvssm.SegTTAModel', module=model))
    (sample,) = augmented.test_step(copy.deepcopy(data))
    return sample


@torch.no_grad()
def logits(model, image: Tensor, window=None, stride=None) -> Tensor:
    """(classes, H, W) of an image at its own size, by windows that start every `stride` pixels and end inside."""
    data = model.data_preprocessor(dict(inputs=[image]), False)['inputs']
    height, width = data.shape[2:]
    if window is None:
        return F.interpolate(model._forward(data), (height, width), mode='bilinear', align_corners=False)[0]
    total, count = torch.zeros(model.out_channels, height, width), torch.zeros(height, width)
    tall, wide = min(window[0], height), min(window[1], width)
    for top in starts(height, tall, stride[0]):
        for left in starts(width, wide, stride[1]):
            part = data[..., top : top + tall, left : left + wide]
            answer = F.interpolate(model._forward(part), part.shape[2:], mode='bilinear', align_corners=False)[0]
            total[:, top : top + tall, left : left + wide] += answer
            count[top : top + tall, left : left + wide] += 1
    assert count.min() > 0
    return total / count


def starts(side: int, window: int, stride: int) -> list[int]:
    """Where windows begin: every `stride` pixels, the last one at the very end."""
    inside = list(range(0, side - window, stride))
    return [*inside, side - window]


def expected(model, image: Tensor, views: list, activate, window=None, stride=None) -> Tensor:
    parts = []
    for scale, flip in views:
        seen = logits(model, view(image, scale, flip)[0], window, stride).flip(AXES[flip])
        parts.append(activate(F.interpolate(seen[None], SIZE, mode='bilinear', align_corners=False)[0]))
    return torch.stack(parts).mean(0)


def image() -> Tensor:
    return torch.randint(255, (3, *SIZE), dtype=torch.uint8)


@pytest.mark.parametrize('views', [VIEWS[:1], VIEWS], ids=['one', 'several'])
def test_the_mean_of_probabilities_of_whole_images(views):
    model, picture = segmentor(), image()
    sample = merged(model, picture, views)
    mean = expected(model, picture, views, lambda x: x.softmax(0))
    torch.testing.assert_close(sample.seg_logits.data, mean, atol=1e-5, rtol=1e-4)
    assert sample.pred_sem_seg.data.shape == (1, *SIZE)
    assert (sample.pred_sem_seg.data[0] == mean.argmax(0)).float().mean() > 0.999


def test_it_is_not_the_mean_of_logits():
    model, picture = segmentor(), image()
    mean = expected(model, picture, VIEWS, lambda x: x).softmax(0)
    assert not torch.allclose(merged(model, picture, VIEWS).seg_logits.data, mean, atol=1e-3)


@pytest.mark.parametrize('name', ['odd', 'larger', 'wider'])
def test_the_mean_of_probabilities_by_windows(name):
    model, picture = segmentor(slide(*WINDOWS[name])), image()
    mean = expected(model, picture, VIEWS, lambda x: x.softmax(0), *WINDOWS[name])
    torch.testing.assert_close(merged(model, picture, VIEWS).seg_logits.data, mean, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('name', WINDOWS)
def test_windows_of_any_size(name):
    from mmseg.structures import SegDataSample

    model, picture = segmentor(slide(*WINDOWS[name])), image()
    sample = SegDataSample(metainfo=dict(ori_shape=SIZE, img_shape=SIZE))
    with torch.no_grad():
        (found,) = model.test_step(dict(inputs=[picture], data_samples=[sample]))
    torch.testing.assert_close(found.seg_logits.data, logits(model, picture, *WINDOWS[name]), atol=1e-4, rtol=1e-4)


def test_one_window_as_large_as_the_image_is_the_whole_image():
    by_window, picture = segmentor(slide((200, 200), (100, 100))), image()
    torch.testing.assert_close(logits(by_window, picture, (200, 200), (100, 100)), logits(by_window, picture))


@pytest.mark.parametrize('threshold', [0.5, 0.6])
def test_one_channel_takes_the_sigmoid_once(threshold):
    model, picture = segmentor(out_channels=1, threshold=threshold), image()
    model.decode_head.num_classes = 2
    sample = merged(model, picture, VIEWS)
    mean = expected(model, picture, VIEWS, torch.sigmoid)
    torch.testing.assert_close(sample.seg_logits.data, mean, atol=1e-5, rtol=1e-4)
    assert torch.equal(sample.pred_sem_seg.data, (sample.seg_logits.data > threshold).float())
