"""Boxes and masks of several views, merged: against the model's own prediction and against known pictures."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor

import mmvssm.openmmlab  # noqa: F401
from mmvssm import configs
from mmvssm.errors import UsageError
from mmvssm.openmmlab import config_files
from tests.openmmlab.test_config_models import load, shrink

TTA = dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)
SIZE = 75, 101
AXES = {None: (), 'horizontal': (-1,), 'vertical': (-2,), 'diagonal': (-2, -1)}


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmdet')
    torch.manual_seed(0)


def augmented(model, tta_cfg=None):
    return MODELS.build(dict(type='mmvssm.MaskTTAModel', module=model, tta_cfg=tta_cfg or TTA))


def view(images: list[Tensor], scale=1.0, flip=None, told=True, **meta) -> dict:
    """A batch, resized and flipped as the pipeline does it."""
    from mmdet.structures import DetDataSample

    inputs, samples = [], []
    for image in images:
        ori = tuple(image.shape[1:])
        size = tuple(round(side * scale) for side in ori)
        resized = F.interpolate(image[None].float(), size, mode='nearest')[0]
        inputs.append(resized.flip(AXES[flip]))
        shapes = dict(ori_shape=ori, img_shape=size, scale_factor=(size[1] / ori[1], size[0] / ori[0]))
        flips = dict(flip=flip is not None, flip_direction=flip) if told else {}
        samples.append(DetDataSample(metainfo=dict(**shapes, **flips, **meta)))
    return dict(inputs=inputs, data_samples=samples)


def together(*views: dict) -> dict:
    """As a data loader gives them."""
    return {key: [one[key] for one in copy.deepcopy(views)] for key in views[0]}


@torch.no_grad()
def predicted(model, data: dict) -> list:
    return [sample.pred_instances for sample in model.test_step(copy.deepcopy(data))]


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for key, _ in theirs.items():
        assert torch.equal(ours[key], theirs[key]), key


@pytest.fixture(scope='module', params=['mask_rcnn_vmamba_t', 'cascade_mask_rcnn_vim_t', 'retinanet_efficientvmamba_t'])
def micro(request):
    """A detector with random weights whose scores lie apart."""
    init_default_scope('mmdet')
    torch.manual_seed(0)
    cfg = shrink(load(request.param))
    cfg.model.test_cfg.setdefault('rcnn', cfg.model.test_cfg).update(max_per_img=9, score_thr=0.0)
    model = MODELS.build(cfg.model).eval()
    for name, value in model.named_parameters():
        if any(part in name for part in ('fc_cls', 'rpn_cls', 'retina_cls', 'conv_logits')):
            value.data.mul_(20)
    return model


class TestOneView:
    """A view that is not augmented."""

    def test_gives_the_plain_prediction_bit_by_bit(self, micro):
        images = [torch.randint(255, (3, *size), dtype=torch.uint8) for size in (SIZE, (64, 57))]
        data = view(images, scale=1.1)
        plain = predicted(micro, data)
        assert sum(map(len, plain))
        for ours, theirs in zip(predicted(augmented(micro), together(data)), plain, strict=True):
            assert_same(ours, theirs)

    def test_needs_no_word_of_flips(self, micro):
        data = view([torch.randint(255, (3, *SIZE), dtype=torch.uint8)], told=False)
        (ours,) = predicted(augmented(micro), together(data))
        assert_same(ours, predicted(micro, data)[0])


@pytest.fixture
def seer():
    """Mask R-CNN that sees what is painted: an object a channel, its mask's probability is the brightness.

    RoIAlign and pasting are the real ones, and all of it is equivariant to flips.
    """
    from mmengine.structures import InstanceData

    cfg = config_files.read(configs.find('demo/mask_rcnn_localvmamba_demo')).model
    cfg.backbone = dict(type='mmvssm.VMamba', arch='test_vmamba', out_indices=(0, 1, 2, 3))
    cfg.neck.in_channels = [16, 24, 32, 40]
    cfg.data_preprocessor = dict(type='DetDataPreprocessor', pad_size_divisor=32)  # at the right and at the bottom
    cfg.roi_head.mask_roi_extractor.update(featmap_strides=[1], out_channels=3)
    cfg.roi_head.mask_roi_extractor.roi_layer.update(output_size=28)
    model = MODELS.build(cfg).eval()

    def boxes(features, metas, proposals, rcnn_test_cfg, rescale):
        found = []
        for image in features[0]:
            seen = [channel for channel in range(3) if image[channel].any()]
            places = [image[channel].nonzero() for channel in seen]
            corners = [[*at.amin(0).flip(0), *(at.amax(0).flip(0) + 1)] for at in places]
            scores = torch.tensor([0.9 - 0.1 * channel for channel in seen])
            labels = torch.tensor(seen, dtype=torch.long)
            found.append(InstanceData(bboxes=torch.tensor(corners).view(-1, 4).float(), scores=scores, labels=labels))
        return found

    model.extract_feat = lambda inputs: (inputs,)
    model.rpn_head.predict = lambda *args, **kwargs: None
    model.roi_head.predict_bbox = boxes
    model.roi_head.mask_head.forward = lambda regions: F.pad(regions, (0, 0, 0, 0, 0, 1)).clamp(1e-6, 1 - 1e-6).logit()
    return model


def painted(*brightness: float) -> Tensor:
    """An L, a triangle and a bar on odd ground, none of which a flip leaves as it is."""
    image = torch.zeros(3, *SIZE)
    image[0, 10:50, 20:30] = 1
    image[0, 40:50, 20:61] = 1
    image[1, 30:71, 50:91] = torch.ones(41, 41).tril()
    image[2, 5:9, 70:99] = 1
    return image * torch.tensor([*brightness, *[0.0] * (3 - len(brightness))])[:, None, None]


def overlap(one: Tensor, other: Tensor) -> float:
    return ((one & other).sum() / (one | other).sum()).item()


class TestFlips:
    @pytest.mark.parametrize('flip', list(AXES)[1:])
    def test_a_flipped_view_alone_is_unflipped(self, seer, flip):
        image = painted(1, 1, 1)
        (ours,) = predicted(augmented(seer), together(view([image], flip=flip)))
        (plain,) = predicted(seer, view([image]))
        assert torch.equal(ours.bboxes, plain.bboxes)
        assert torch.equal(ours.masks, plain.masks)

    @pytest.mark.parametrize('scale', [1.0, 1.37, 2.0])
    @pytest.mark.parametrize('flip', list(AXES)[1:])
    def test_views_agree(self, seer, flip, scale):
        image = painted(1, 1, 1)
        (ours,) = predicted(augmented(seer), together(view([image]), view([image], scale, flip)))
        (plain,) = predicted(seer, view([image]))
        assert ours.labels.tolist() == [0, 1, 2]
        torch.testing.assert_close(ours.bboxes, plain.bboxes, atol=1.0, rtol=0)
        assert min(overlap(a, b) for a, b in zip(ours.masks, plain.masks)) > (0.999 if scale == 1 else 0.9)

    def test_masks_are_those_that_are_painted(self, seer):
        image = painted(1, 1, 1)
        (ours,) = predicted(augmented(seer), together(*(view([image], flip=flip) for flip in AXES)))
        assert ours.masks.shape == (3, *SIZE)
        assert min(overlap(mask, image[i] > 0) for i, mask in enumerate(ours.masks)) > 0.85

    def test_images_of_a_batch_are_kept_apart(self, seer):
        batch = [painted(1, 1, 1), torch.zeros(3, 40, 33), painted(0, 1)]
        found = predicted(augmented(seer), together(view(batch), view(batch, flip='horizontal')))
        for ours, plain in zip(found, predicted(seer, view(batch)), strict=True):
            assert_same(ours, plain)

    def test_nothing_is_found_nowhere(self, seer):
        batch = [torch.zeros(3, *SIZE)]
        (ours,) = predicted(augmented(seer), together(view(batch), view(batch, flip='vertical')))
        assert [ours[key].shape for key in ('bboxes', 'scores', 'labels')] == [(0, 4), (0,), (0,)]
        assert ours.masks.shape == (0, *SIZE)


class TestMerging:
    @pytest.mark.parametrize(
        ('dim', 'weights', 'area'),
        [(0.2, None, True), (0.05, None, False), (0.05, [3, 1], True), (0.2, [1, 3], False)],
    )
    def test_masks_are_the_weighted_mean_of_probabilities(self, seer, dim, weights, area):
        data = together(view([painted(0.9)]), view([painted(dim)], flip='horizontal'))
        (ours,) = predicted(augmented(seer, dict(TTA, mask_weights=weights)), data)
        assert ours.masks.any().item() == area

    def test_an_object_seen_in_one_view_is_looked_for_in_the_others(self, seer):
        (ours,) = predicted(augmented(seer), together(view([painted(0.9)]), view([painted(0)])))
        assert len(ours) == 1
        assert not ours.masks.any()  # 0.45 on the average

    def test_classes_do_not_suppress_each_other(self, seer):
        image = painted(1)
        image[1] = image[0]
        (ours,) = predicted(augmented(seer), together(view([image]), view([image], flip='diagonal')))
        assert ours.labels.tolist() == [0, 1]

    def test_at_most_so_many_objects(self, seer):
        image = painted(1, 1, 1)
        (ours,) = predicted(augmented(seer, dict(TTA, max_per_img=2)), together(view([image]), view([image])))
        assert ours.labels.tolist() == [0, 1]
        assert len(ours.masks) == 2

    def test_weights_of_another_number_of_views(self, seer):
        with pytest.raises(UsageError, match='mask_weights has 3 numbers for 1 views'):
            predicted(augmented(seer, dict(TTA, mask_weights=[1, 1, 1])), together(view([painted(1)])))

    def test_the_result_is_in_the_sample_whose_labels_are_not_flipped(self, seer):
        image = painted(1)
        data = together(view([image], flip='horizontal', img_id=1), view([image], img_id=2))
        (sample,) = augmented(seer).test_step(data)
        assert sample.img_id == 2


REFUSED = {
    'mask2former': 'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
    'rtmdet-ins': 'mmdet::rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py',
    'point-rend': 'mmdet::point_rend/point-rend_r50-caffe_fpn_ms-1x_coco.py',
    'solo': 'mmdet::solo/solo_r50_fpn_1x_coco.py',
}


@pytest.mark.parametrize('name', REFUSED)
def test_masks_that_belong_to_one_view_are_refused(name, tmp_path):
    (tmp_path / 'c.py').write_text(f"_base_ = ['{REFUSED[name]}']\nmodel = dict(backbone=dict(init_cfg=None))\n")
    cfg = Config.fromfile(tmp_path / 'c.py')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    with pytest.raises(UsageError, match='only those of Mask R-CNN and Cascade Mask R-CNN can be merged'):
        augmented(model)
