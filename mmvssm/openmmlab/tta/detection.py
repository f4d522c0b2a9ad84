"""Detectors on several views of an image: boxes merged as mmdet merges them, then the masks of the merged boxes."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmcv.ops import batched_nms
from mmdet.models.detectors import TwoStageDetector
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.models.test_time_augs import DetTTAModel
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi, bbox_mapping
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmvssm.errors import UsageError

AXES = {'horizontal': (-1,), 'vertical': (-2,), 'diagonal': (-2, -1)}  # of a map, that a flip reverses
UNFLIPPED = dict(flip=False, flip_direction=None)  # a pipeline without RandomFlip says nothing


@dataclass(frozen=True)
class View:
    """A batch of images, augmented in one way.

    Attributes:
        features: maps of the neck.
        metas: of each image.
        found: of each image, boxes in the view's own pixels.
    """

    features: tuple[Tensor, ...]
    metas: list[dict[str, Any]]
    found: list[InstanceData]


class MaskTTAModel(DetTTAModel):
    """mmdet's test-time augmentation, with masks.

    Boxes of all views, mapped back into the image, go through one suppression: mmdet's own merging, which is all that
    a detector without masks needs. For Mask R-CNN and Cascade Mask R-CNN each merged box is then mapped into every
    view, whose mask head tells what of the box is object; these probabilities are un-flipped, averaged and pasted
    (mmdet 2.x `aug_test`). A box stays as it was found in the view that it comes from, so one view that is not
    augmented gives the model's own prediction, bit by bit.

    Masks of other models belong to a query or a point of one view, which the other views cannot be asked for.

    Args:
        tta_cfg: nms (of `mmcv.ops.batched_nms`), max_per_img and, where views are not to count alike, mask_weights:
            one number a view, in the order of the pipeline.
        **kwargs: BaseTTAModel's; module is the detector or its config.

    Raises:
        UsageError: the module predicts masks of another kind; also on the first batch.
    """

    def __init__(self, tta_cfg: dict, **kwargs: Any):
        super().__init__(tta_cfg=ConfigDict(tta_cfg), **kwargs)
        self.masked = _masks_boxes(self.module)
        if not self.masked and _masks_otherwise(self.module):
            raise _cannot_merge(self.module)

    def test_step(self, data: dict) -> list[DetDataSample]:
        """Predictions of a batch: `inputs` and `data_samples`, a list of images for each view."""
        if not self.masked:
            return super().test_step(data)
        number = len(data['inputs'])
        batches = [{key: value[i] for key, value in data.items()} for i in range(number)]
        views, samples = zip(*map(self._look, batches))
        boxes = [[view.found[i] for view in views] for i in range(len(samples[0]))]
        metas = [[view.metas[i] for view in views] for i in range(len(samples[0]))]
        merged, places = zip(*map(self._merge, boxes, metas))
        results = self._with_masks(views, list(merged), places)
        return [_add(result, list(own)) for result, own in zip(results, zip(*samples))]

    def merge_aug_bboxes(self, aug_bboxes: list[Tensor], aug_scores: list[Tensor], img_metas: list[dict]) -> Any:
        """mmdet's, also where no view can be flipped."""
        return super().merge_aug_bboxes(aug_bboxes, aug_scores, [{**UNFLIPPED, **meta} for meta in img_metas])

    def _merge_single_sample(self, data_samples: Sequence[DetDataSample]) -> DetDataSample:
        if 'masks' in data_samples[0].pred_instances:
            raise _cannot_merge(self.module)
        whole = _unflipped(data_samples)  # mmdet puts the result into the first
        return super()._merge_single_sample([whole, *(one for one in data_samples if one is not whole)])

    def _look(self, batch: dict) -> tuple[View, list[DetDataSample]]:
        """A view, and its samples."""
        model = self.module
        batch = model.data_preprocessor(batch, False)
        samples = batch['data_samples']
        metas = [{**UNFLIPPED, **sample.metainfo} for sample in samples]
        features = model.extract_feat(batch['inputs'])
        proposals = model.rpn_head.predict(features, samples, rescale=False)
        head = model.roi_head
        found = head.predict_bbox(features, metas, proposals, rcnn_test_cfg=head.test_cfg, rescale=False)
        return View(features, metas, found), samples

    def _merge(self, found: list[InstanceData], metas: list[dict]) -> tuple[InstanceData, list[Tensor]]:
        """An image's boxes (N, 4) in its own pixels, with scores and labels, and in those of each view."""
        own = [one.bboxes / _scale(one.bboxes, meta) for one, meta in zip(found, metas)]
        boxes, scores = self.merge_aug_bboxes(own, [one.scores for one in found], metas)
        labels = torch.cat([one.labels for one in found])
        source = torch.cat([torch.full_like(one.labels, i) for i, one in enumerate(found)])
        as_found = torch.cat([one.bboxes for one in found])
        if len(boxes):
            detected, kept = batched_nms(boxes, scores, labels, self.tta_cfg.nms)
            kept = kept[: self.tta_cfg.max_per_img]
            boxes, scores = boxes[kept], detected[: len(kept), -1]
            labels, source, as_found = labels[kept], source[kept], as_found[kept]
        mapped = [
            torch.where(
                source[:, None] == i,
                as_found,
                bbox_mapping(boxes, meta['img_shape'], tuple(meta['scale_factor']) * 2, **_flip(meta)),
            )
            for i, meta in enumerate(metas)
        ]
        return InstanceData(bboxes=boxes, scores=scores, labels=labels), mapped

    def _with_masks(
        self, views: Sequence[View], merged: list[InstanceData], places: Sequence[list[Tensor]]
    ) -> list[InstanceData]:
        """The merged boxes of each image with the mean of the views' masks, pasted into the image."""
        numbers = [len(one) for one in merged]
        weights = self.tta_cfg.get('mask_weights') or [1.0] * len(views)
        if len(weights) != len(views):
            raise UsageError(f'tta_model.tta_cfg.mask_weights has {len(weights)} numbers for {len(views)} views')
        total: Any = 0
        for i, (view, weight) in enumerate(zip(views, weights)):
            if sum(numbers):
                chances = _mask_probabilities(self.module.roi_head, view.features, [place[i] for place in places])
                parts = [_unflip(part, meta) for part, meta in zip(chances.split(numbers), view.metas)]
                total = total + weight * torch.cat(parts)
        masks = (total / sum(weights)).split(numbers) if sum(numbers) else [None] * len(numbers)
        metas = [{**meta, 'scale_factor': (1.0, 1.0)} for meta in views[0].metas]  # the boxes are the image's
        head, test_cfg = self.module.roi_head.mask_head, self.module.roi_head.test_cfg
        head = head[-1] if isinstance(head, nn.ModuleList) else head
        with warnings.catch_warnings():  # mmdet copies a tensor by new_tensor
            warnings.filterwarnings('ignore', message='To copy construct from a tensor')
            return head.predict_by_feat(masks, merged, metas, test_cfg, rescale=True, activate_map=True)


def _masks_boxes(model: nn.Module) -> bool:
    """Whether masks are predicted from boxes, by heads that take any boxes."""
    head = getattr(model, 'roi_head', None)
    if head is None or not head.with_mask or type(model).predict is not TwoStageDetector.predict:
        return False
    kinds = (StandardRoIHead, CascadeRoIHead)
    return any(
        type(head).predict_mask is kind.predict_mask and type(head)._mask_forward is kind._mask_forward
        for kind in kinds
    )


def _masks_otherwise(model: nn.Module) -> bool:
    heads = (model, getattr(model, 'bbox_head', None), getattr(model, 'roi_head', None))
    return hasattr(model, 'panoptic_head') or any(getattr(head, 'mask_head', None) is not None for head in heads)


def _cannot_merge(model: nn.Module) -> UsageError:
    return UsageError(
        f"test-time augmentation: the masks of a {type(model).__name__} belong to one view's queries or points; "
        'only those of Mask R-CNN and Cascade Mask R-CNN can be merged, and boxes of any detector'
    )


def _mask_probabilities(head: nn.Module, features: tuple[Tensor, ...], boxes: list[Tensor]) -> Tensor:
    """(N, classes, h, w) of all boxes of a batch; of a cascade the mean of its stages, as in mmdet."""
    rois = bbox2roi(boxes)
    if isinstance(head, CascadeRoIHead):
        stages = [head._mask_forward(stage, features, rois) for stage in range(head.num_stages)]
        return torch.stack([stage['mask_preds'].sigmoid() for stage in stages]).mean(dim=0)
    return head._mask_forward(features, rois)['mask_preds'].sigmoid()


def _unflip(masks: Tensor, meta: dict) -> Tensor:
    return masks.flip(AXES[meta['flip_direction']]) if meta['flip'] else masks


def _flip(meta: dict) -> dict:
    return {key: meta[key] for key in UNFLIPPED}


def _scale(boxes: Tensor, meta: dict) -> Tensor:
    return boxes.new_tensor(meta['scale_factor']).repeat(2)


def _unflipped(samples: Sequence[DetDataSample]) -> DetDataSample:
    """The first view whose labels lie as the image's do."""
    return next((one for one in samples if not one.metainfo.get('flip')), samples[0])


def _add(result: InstanceData, samples: list[DetDataSample]) -> DetDataSample:
    sample = _unflipped(samples)
    sample.pred_instances = result
    return sample
