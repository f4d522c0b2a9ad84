"""ViTDet-style detectors see one input size, in training as in tests."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData
from PIL import Image

ROOT = Path(__file__).parents[2] / 'configs'
# grey of 114 after normalisation
GREY = [(114 - mean) / std for mean, std in zip([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])]


def preprocessor(name: str, **changes) -> torch.nn.Module:
    cfg = Config.fromfile(ROOT / f'{name}.py')
    cfg.model.data_preprocessor.update(changes)
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(cfg.model.data_preprocessor)


def batch(*sizes) -> dict:
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    samples = []
    for size in sizes:
        sample = DetDataSample(metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0)))
        masks = BitmapMasks(np.ones((1, *size), np.uint8), *size)
        sample.gt_instances = InstanceData(bboxes=torch.tensor([[0.0, 0.0, 5.0, 5.0]]), masks=masks)
        samples.append(sample)
    return dict(inputs=[torch.full((3, *size), 20, dtype=torch.uint8) for size in sizes], data_samples=samples)


@pytest.mark.parametrize('training', [True, False])
def test_images_are_padded_with_grey_to_the_size(training):
    module = preprocessor('mask_rcnn_localvim_t', size=(48, 64))
    out = module(batch((48, 61), (33, 64)), training)
    assert out['inputs'].shape == (2, 3, 48, 64)
    grey = torch.tensor(GREY)[:, None, None]
    assert torch.allclose(out['inputs'][0, :, :, 61:], grey.expand(3, 48, 3))
    assert torch.allclose(out['inputs'][1, :, 33:], grey.expand(3, 15, 64))
    assert (out['inputs'][0, :, :, :61] - grey).abs().min() > 1


def test_masks_are_padded_with_nothing_and_the_frame_stays():
    sample = preprocessor('mask_rcnn_localvim_t', size=(48, 64))(batch((40, 50)), True)['data_samples'][0]
    masks = sample.gt_instances.masks.masks
    assert masks.shape == (1, 48, 64)
    assert masks.sum() == 40 * 50
    assert (sample.img_shape, sample.pad_shape, sample.batch_input_shape) == ((40, 50), (48, 64), (48, 64))


def test_stacked_images_are_padded_too():
    module = preprocessor('mask_rcnn_localvim_t', size=(48, 64))
    images = dict(batch((40, 50), (40, 50)), inputs=torch.zeros(2, 3, 40, 50, dtype=torch.uint8))
    assert module(images, False)['inputs'].shape == (2, 3, 48, 64)


def test_a_larger_image_is_refused():
    with pytest.raises(ValueError, match=r'an image of \(49, 64\) exceeds data_preprocessor.size=\(48, 64\)'):
        preprocessor('mask_rcnn_localvim_t', size=(48, 64))(batch((49, 64)), False)


@pytest.mark.parametrize('name', ['mask_rcnn_localvim_s', 'mask_rcnn_vim_t', 'cascade_mask_rcnn_vim_t'])
def test_a_test_image_reaches_the_model_at_the_size_of_training(name, tmp_path):
    from mmcv.transforms import Compose

    Image.new('RGB', (120, 90), (255, 0, 0)).save(tmp_path / 'wide.png')
    cfg = Config.fromfile(ROOT / f'{name}.py')
    with DefaultScope.overwrite_default_scope('mmdet'):
        steps = [step for step in cfg.test_dataloader.dataset.pipeline if step['type'] != 'LoadAnnotations']
        item = Compose(copy.deepcopy(steps))(dict(img_path=str(tmp_path / 'wide.png'), img_id=0))
    out = preprocessor(name)(dict(inputs=[item['inputs']], data_samples=[item['data_samples']]), False)
    assert out['inputs'].shape == (1, 3, 1024, 1024)
    assert out['data_samples'][0].img_shape == (768, 1024)
    assert torch.allclose(out['inputs'][0, :, 768:], torch.tensor(GREY)[:, None, None].expand(3, 256, 1024))
