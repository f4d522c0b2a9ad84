"""Family x head: every segmentor's head trains over every family, and predicts at an odd size, whole and by windows."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope

import mmvssm.openmmlab  # noqa: F401
from tests.openmmlab import heads
from tests.openmmlab.test_config_models import build, narrow_heads, segmentation_batch

PAGE = Path(__file__).parents[2] / 'docs/heads.md'
SIZE = 75, 101  # of the image of the prediction
WINDOW = dict(mode='slide', crop_size=(53, 64), stride=(31, 45))


@dataclass(frozen=True)
class Head:
    """A segmentor's head in the table.

    Attributes:
        config: one that has it.
        coarsest: stride of the last map that it takes.
        plain_only: it is for backbones of one stride, and takes their maps as they are.
    """

    config: str
    coarsest: int = 32
    plain_only: bool = False


SEGMENTORS = {
    'UperNet': Head('upernet_vmamba_t'),
    'SegFormer': Head('segformer_localvmamba_t'),
    'PSPNet': Head('pspnet_vmamba_t'),
    'DeepLabV3+': Head('deeplabv3plus_vmamba_t', coarsest=16),
    'Semantic FPN': Head('semantic_fpn_efficientvmamba_t'),
    'SETR': Head('setr_vim_t', plain_only=True),
    'Mask2Former': Head('mask2former_semantic_vmamba_t'),
}


def over(head: Head, family: str) -> Config:
    """A head's config over a family: what docs/heads.md tells users to change."""
    cfg = heads.small(head.config)
    narrow_heads(cfg.model)
    strides, model = (4, 8, 16, head.coarsest), cfg.model
    if head.plain_only:
        widths = heads.widths(family)
        model.backbone = ConfigDict(type=f'mmvssm.{family}', arch=heads.FAMILIES[family], out_indices=(0, 1, 2, 3))
    elif family in heads.PLAIN:
        (width,) = heads.put_backbone(cfg, family)
        scales = tuple(heads.STRIDE / stride for stride in strides)
        pyramid = dict(type='mmvssm.SimplePyramid', in_channels=width, out_channels=32, scales=scales, num_outs=4)
        model.neck, widths = ConfigDict(pyramid), [32] * 4
    else:
        widths = heads.put_backbone(cfg, family)
        if head.coarsest != 32:
            model.backbone.output_stride = head.coarsest
        if 'neck' in model:
            model.neck.in_channels, widths = widths, [model.neck.out_channels] * 4
    decode = model.decode_head
    one = decode.get('in_index') == 3
    decode.in_channels = widths[3] if one else widths
    if 'c1_in_channels' in decode:
        decode.c1_in_channels = widths[0]
    others = model.get('auxiliary_head') or []
    for other in others if isinstance(others, list) else [others]:
        other.in_channels = widths[other.in_index]
    return cfg


CELLS = [
    (head, family)
    for head, about in SEGMENTORS.items()
    for family in (heads.PLAIN if about.plain_only else heads.FAMILIES)
]


@pytest.mark.parametrize(('head', 'family'), CELLS)
def test_head_trains_and_predicts(head, family):
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = build(over(SEGMENTORS[head], family))
        heads.train(model, segmentation_batch((64, 96)))
        model.eval()
        for test_cfg in (dict(mode='whole'), WINDOW):
            model.test_cfg = ConfigDict(test_cfg)
            with torch.no_grad():
                results = model.val_step(segmentation_batch(SIZE))
            assert [tuple(one.pred_sem_seg.data.shape[-2:]) for one in results] == [SIZE] * 2
            assert all(one.seg_logits.data.isfinite().all() for one in results)


def test_the_table_of_the_docs_is_what_is_tested():
    page = PAGE.read_text(encoding='utf-8')
    assert heads.table(CELLS) in page.split('## Segmentors')[1].split('\n## ')[0]
