"""Family x head: every detector's head trains over every family, and predicts at another, odd size."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope

import mmvssm.openmmlab  # noqa: F401
from mmvssm.errors import UsageError
from tests.openmmlab import heads
from tests.openmmlab.test_config_models import ROOT, build, detection_batch_for, with_masks

SIZE = 75, 101  # of the image of the prediction
PAGE = Path(__file__).parents[2] / 'docs/heads.md'
FINE, COARSE = (4, 8, 16, 32), (8, 16, 32)


@dataclass(frozen=True)
class Head:
    """A detector's head in the table.

    Attributes:
        config: one that has it.
        strides: of the maps that its neck, or it, takes.
        levels: maps that it takes of a pyramid that stands in for the neck.
        falls: the loss that falls from the start; RTMDet's targets grow with its boxes, and its sum with them.
    """

    config: str
    strides: tuple[int, ...] = FINE
    levels: int = 5
    falls: str = 'loss'


DETECTORS = {
    'RetinaNet': Head('retinanet_vmamba_t'),
    'FCOS': Head('fcos_vmamba_t', COARSE),
    'Faster R-CNN': Head('faster_rcnn_localvmamba_t'),
    'Mask R-CNN': Head('mask_rcnn_vmamba_t'),
    'Cascade Mask R-CNN': Head('cascade_mask_rcnn_vmamba_t'),
    'Mask2Former': Head('mask2former_vmamba_t', levels=4),
    'Mask2Former, panoptic': Head('mask2former_panoptic_vmamba_t', levels=4),
    'DINO': Head('dino_vmamba_t', COARSE, 4),
    'Deformable DETR': Head('deformable_detr_vmamba_t', COARSE, 4),
    'RTMDet': Head('rtmdet_vmamba_t', COARSE, 3, falls='loss_bbox'),
    'RTMDet-Ins': Head('rtmdet_ins_vmamba_t', COARSE, 3, falls='loss_bbox'),
}


def over(head: Head, family: str) -> Config:
    """A head's config over a family: what docs/heads.md tells users to change."""
    cfg = heads.small(head.config)
    widths = heads.put_backbone(cfg, family)
    if family in heads.PLAIN:
        out_channels = cfg.model.encoder.layer_cfg.self_attn_cfg.embed_dims if 'encoder' in cfg.model else 32
        cfg.model.neck = ConfigDict(pyramid(head, *widths, out_channels))
        widths = [cfg.model.neck.out_channels] * head.levels
    elif 'neck' in cfg.model:
        cfg.model.neck.in_channels = widths
    if 'panoptic_head' in cfg.model:
        cfg.model.panoptic_head.in_channels = widths
    return cfg


def pyramid(head: Head, width: int, out_channels: int) -> dict:
    scales, given = tuple(heads.STRIDE / stride for stride in head.strides), dict(num_outs=head.levels)
    return dict(type='mmvssm.SimplePyramid', in_channels=width, out_channels=out_channels, scales=scales, **given)


CELLS = [(head, family) for head in DETECTORS for family in heads.FAMILIES]


@pytest.mark.parametrize(('head', 'family'), CELLS)
def test_head_trains_and_predicts(head, family):
    head = DETECTORS[head]
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        cfg = over(head, family)
        model = build(cfg)
        heads.train(model, detection_batch_for(cfg), head.falls)
        with torch.no_grad():
            results = model.eval().val_step(detection_batch_for(cfg, SIZE))
    for result in results:
        found = result.pred_instances
        assert found.bboxes.isfinite().all()
        assert len(found.bboxes) == len(found.scores) > 0
        assert not with_masks(cfg) or found.masks.shape[1:] == SIZE
        assert 'panoptic' not in head.config or result.pred_panoptic_seg.sem_seg.shape[-2:] == SIZE


def test_the_table_of_the_docs_is_what_is_tested():
    page = PAGE.read_text(encoding='utf-8')
    assert heads.table(CELLS) in page.split('## Detectors')[1].split('\n## ')[0]


def test_every_base_of_a_head_is_named_in_the_docs():
    page = PAGE.read_text(encoding='utf-8')
    for head in DETECTORS.values():
        [base] = re.findall(
            r'_base_/(\w+\.py)', (ROOT / f'{head.config}.py').read_text(encoding='utf-8').split('"""')[2]
        )
        assert base in page


def test_an_image_with_fewer_tokens_than_queries_is_refused():
    """mmdet's DINO fails in topk there."""
    cfg = over(DETECTORS['DINO'], 'VMamba')
    cfg.model.num_queries = 900
    model = build(cfg)
    with pytest.raises(UsageError, match=r'model\.num_queries=900 is more than the 256 tokens of an image'):
        heads.losses_of(model, detection_batch_for(cfg))
