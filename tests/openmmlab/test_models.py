"""A detector and a segmentor of OpenMMLab on the stand-ins: loss, gradients, predictions on the CPU."""

import pytest
import torch
from mmengine import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData

from mmvssm.openmmlab import compat

compat.install()

SIZE = 75, 101  # odd, so that the pyramid's maps do not divide
RESNET = dict(type='ResNet', depth=18, base_channels=4, norm_eval=False, style='pytorch')


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def scope(request):
    init_default_scope(request.param)


def mask_rcnn(roi_layer='RoIAlign', nms='nms', conv=None, focal=False):
    from mmdet.registry import MODELS

    backbone, channels = RESNET, [4, 8, 16, 32]
    if conv:  # mmdet has deformable convolutions in the deeper nets' blocks only
        backbone = dict(RESNET, depth=50, dcn=conv, stage_with_dcn=(False, True, True, True))
        channels = [16, 32, 64, 128]
    layer = dict(type=roi_layer, **({} if roi_layer == 'RoIPool' else dict(sampling_ratio=0)))
    extractor = dict(type='SingleRoIExtractor', out_channels=8, featmap_strides=[4, 8, 16, 32])
    head = dict(in_channels=8, num_classes=3)
    both = dict(pos_weight=-1, debug=False)
    rcnn_assigner = dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5)
    rpn_assigner = dict(type='MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3)
    sampler = dict(type='RandomSampler', num=16, pos_fraction=0.5)
    proposals = dict(nms_pre=100, max_per_img=50, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0)
    cls_loss = dict(type='CrossEntropyLoss', use_sigmoid=True)
    if focal:
        cls_loss = dict(type='FocalLoss', use_sigmoid=True)
    config = dict(
        type='MaskRCNN',
        data_preprocessor=dict(type='DetDataPreprocessor', pad_size_divisor=32, pad_mask=True),
        backbone=backbone,
        neck=dict(type='FPN', in_channels=channels, out_channels=8, num_outs=5),
        rpn_head=dict(
            type='RPNHead',
            in_channels=8,
            feat_channels=8,
            anchor_generator=dict(type='AnchorGenerator', scales=[4], ratios=[1.0], strides=[4, 8, 16, 32, 64]),
            bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
            loss_cls=cls_loss,
            loss_bbox=dict(type='L1Loss'),
        ),
        roi_head=dict(
            type='StandardRoIHead',
            bbox_roi_extractor=dict(extractor, roi_layer=dict(layer, output_size=7)),
            bbox_head=dict(type='Shared2FCBBoxHead', fc_out_channels=16, roi_feat_size=7, **head),
            mask_roi_extractor=dict(extractor, roi_layer=dict(layer, output_size=14)),
            mask_head=dict(type='FCNMaskHead', num_convs=1, conv_out_channels=8, **head),
        ),
        train_cfg=dict(
            rpn=dict(both, assigner=rpn_assigner, sampler=sampler, allowed_border=-1),
            rpn_proposal=proposals,
            rcnn=dict(
                assigner=rcnn_assigner, sampler=dict(sampler, add_gt_as_proposals=True), mask_size=28, pos_weight=-1
            ),
        ),
        test_cfg=dict(
            rpn=proposals,
            rcnn=dict(score_thr=0.0, nms=dict(type=nms, iou_threshold=0.5), max_per_img=10, mask_thr_binary=0.5),
        ),
    )
    return MODELS.build(ConfigDict(config))


def detection_batch(boxes_per_image=(2, 0)):
    """Two images; the second has no object."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    samples = []
    for count in boxes_per_image:
        corners = torch.tensor([[10.0, 12.0, 50.0, 60.0], [40.0, 20.0, 90.0, 70.0]])[:count]
        masks = torch.zeros(count, *SIZE, dtype=torch.uint8)
        masks[:, 20:55, 42:48] = 1
        sample = DetDataSample(metainfo=dict(img_shape=SIZE, ori_shape=SIZE, scale_factor=(1.0, 1.0), img_id=0))
        sample.gt_instances = InstanceData(
            bboxes=corners, labels=torch.arange(count), masks=BitmapMasks(masks.numpy(), *SIZE)
        )
        samples.append(sample)
    return dict(inputs=[torch.rand(3, *SIZE) for _ in samples], data_samples=samples)


def losses_and_gradients(model, batch):
    """The sum of the losses of one training step, with every parameter's gradient checked."""
    model.train()
    total, _ = model.parse_losses(model(**model.data_preprocessor(batch, training=True), mode='loss'))
    assert torch.isfinite(total)
    total.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
    return total


MASK_RCNNS = {
    'plain': dict(),
    'max-pooled': dict(roi_layer='RoIPool', nms='soft_nms'),
    'deformable': dict(conv=dict(type='DCN', deform_groups=1)),
    'modulated-focal': dict(conv=dict(type='DCNv2', deform_groups=2), focal=True),
}


@pytest.mark.parametrize('scope', ['mmdet'], indirect=True)
@pytest.mark.parametrize('name', MASK_RCNNS)
def test_mask_rcnn_trains_and_predicts(name, scope):
    model = mask_rcnn(**MASK_RCNNS[name])
    losses_and_gradients(model, detection_batch())
    model.eval()
    with torch.no_grad():
        results = model(**model.data_preprocessor(detection_batch()), mode='predict')
    for result in results:
        found = result.pred_instances
        assert found.bboxes.shape == (len(found), 4)
        assert found.masks.shape == (len(found), *SIZE)
    assert sum(len(result.pred_instances) for result in results)


@pytest.mark.parametrize('scope', ['mmdet'], indirect=True)
def test_mask_rcnn_under_bfloat16_autocast(scope):
    model = mask_rcnn()
    with torch.autocast('cpu', torch.bfloat16):
        losses_and_gradients(model, detection_batch())


@pytest.mark.parametrize('scope', ['mmdet'], indirect=True)
def test_two_identical_steps_agree(scope):
    """The operators keep no state between calls."""
    totals = []
    for _ in range(2):
        torch.manual_seed(1)
        totals.append(losses_and_gradients(mask_rcnn(), detection_batch()))
    assert torch.equal(*totals)


@pytest.mark.parametrize('scope', ['mmseg'], indirect=True)
def test_upernet_trains_and_predicts(scope):
    from mmseg.registry import MODELS
    from mmseg.structures import SegDataSample

    head = dict(channels=8, num_classes=4, norm_cfg=dict(type='BN'), align_corners=False)
    model = MODELS.build(
        ConfigDict(
            type='EncoderDecoder',
            data_preprocessor=dict(type='SegDataPreProcessor', size=SIZE, seg_pad_val=255),
            backbone=dict(RESNET, type='ResNetV1c', stem_channels=4),
            decode_head=dict(
                head,
                type='UPerHead',
                in_channels=[4, 8, 16, 32],
                in_index=[0, 1, 2, 3],
                pool_scales=(1, 2, 3, 6),
                sampler=dict(type='OHEMPixelSampler', thresh=0.7, min_kept=100),
            ),
            auxiliary_head=dict(head, type='FCNHead', in_channels=16, in_index=2, num_convs=1),
            test_cfg=dict(mode='slide', crop_size=(64, 64), stride=(40, 40)),
        )
    )
    samples = []
    for _ in range(2):
        sample = SegDataSample(metainfo=dict(img_shape=SIZE, ori_shape=SIZE, pad_shape=SIZE))
        sample.gt_sem_seg = PixelData(data=torch.randint(4, (1, *SIZE)))
        samples.append(sample)
    batch = dict(inputs=[torch.rand(3, *SIZE) for _ in samples], data_samples=samples)
    losses_and_gradients(model, batch)
    model.eval()
    with torch.no_grad():
        results = model(**model.data_preprocessor(batch), mode='predict')
    assert [result.pred_sem_seg.shape for result in results] == [SIZE, SIZE]
