"""Detectors and segmentors as networks of images alone: to count them as the published tables do, and to time them."""

from collections.abc import Callable

from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

from mmvssm import targets
from mmvssm.errors import UsageError
from mmvssm.openmmlab import config_files, device

BOXES, MASKS = (1000, 7), (100, 14)  # of a two-stage detector's heads: how many regions, and their side
COUNTED_AT = {'mmdet': (800, 1280), 'mmseg': (512, 2048)}  # height and width of the published totals


class Whole(nn.Module):
    """A model's layers without the selection of boxes between them: what published totals count.

    A two-stage detector's heads see 1,000 boxes and 100 masks, as in the papers' counters; a segmentor's auxiliary
    head, which only trains, is left out.
    """

    def __init__(self, whole: nn.Module):
        super().__init__()
        self.whole = whole

    def forward(self, x: Tensor) -> list:
        maps = self.whole.extract_feat(x)
        if hasattr(self.whole, 'decode_head'):
            return [self.whole.decode_head(maps)]
        if not hasattr(self.whole, 'roi_head'):
            return [self.whole.bbox_head(maps)]
        found = [self.whole.rpn_head(maps)]
        for head, (number, side) in ((self.whole.roi_head.bbox_head, BOXES), (self.whole.roi_head.mask_head, MASKS)):
            regions = maps[0][:, :, :1, :1].expand(-1, -1, side, side).repeat_interleave(number, 0)
            found += [one(regions) for one in (head if isinstance(head, nn.ModuleList) else [head])]
        return found


def build(target: targets.Target, size: tuple[int, int]) -> tuple[nn.Module, nn.Module, Callable[[Tensor], object]]:
    """(the model with random weights, it as it is counted, a function of images that predicts).

    Raises:
        UsageError: neither a detector nor a segmentor of the usual make.
    """
    cfg = config_files.read(target.config_file)
    device.fit_device(cfg)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    for part in ('backbone', 'data_preprocessor'):
        cfg.model.get(part, {}).pop('init_cfg', None)
    model = MODELS.build(cfg.model).eval()
    if not any(hasattr(model, head) for head in ('decode_head', 'bbox_head', 'roi_head')):
        raise UsageError(f'{target.name}: a {type(model).__name__} has no decode_head, bbox_head or roi_head')
    counted = Whole(model)
    if hasattr(model, 'decode_head'):
        return model, counted, lambda images: model(images, mode='tensor')
    return model, counted, lambda images: model(images, _samples(len(images), size), mode='predict')


def _samples(number: int, size: tuple[int, int]) -> list:
    from mmdet.structures import DetDataSample

    meta = dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0), pad_shape=size, batch_input_shape=size)
    return [DetDataSample(metainfo=meta) for _ in range(number)]
