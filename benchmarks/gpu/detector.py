"""A training iteration of a detector on random images. Needs mmdet."""

from collections.abc import Callable

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData

from mmvssm import configs
from mmvssm.openmmlab import device as devices
from mmvssm.openmmlab import ops

OBJECTS = 7  # of an image; COCO has 7.3


def iteration(config: str, shape: tuple[int, int, int], device: str) -> tuple[Callable[[], None], int]:
    """What runs one iteration, and the images of it. `config`: a name of this package's, or `mmdet::...`."""
    ops.install()
    cfg = _of_mmdet(config) if config.startswith('mmdet::') else Config.fromfile(configs.find(config))
    devices.fit_device(cfg)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    cfg.model.backbone.pop('init_cfg', None)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    batch, *size = shape
    data = {
        'inputs': [torch.randint(0, 255, (3, *size), dtype=torch.uint8) for _ in range(batch)],
        'data_samples': [_sample(*size) for _ in range(batch)],
    }

    def iterate() -> None:
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            prepared = model.data_preprocessor(data, True)
            loss, _ = model.parse_losses(model(**prepared, mode='loss'))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return iterate, batch


def _of_mmdet(config: str) -> Config:
    from mmengine.hub import get_config

    return get_config(config)


def _sample(height: int, width: int):
    """Rectangles of one class, of random places and sizes."""
    from mmdet.structures import DetDataSample  # which takes mmcv's operators as it finds them: they are installed now
    from mmdet.structures.mask import BitmapMasks

    low = torch.rand(OBJECTS, 2) * torch.tensor([width, height]) * 0.7
    boxes = torch.cat([low, low + torch.tensor([width, height]) * (0.05 + 0.2 * torch.rand(OBJECTS, 2))], dim=1)
    masks = torch.zeros(OBJECTS, height, width, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist()):
        mask[top:bottom, left:right] = 1
    meta = dict(img_shape=(height, width), ori_shape=(height, width), scale_factor=(1.0, 1.0), img_id=0)
    sample = DetDataSample(metainfo=meta)
    sample.gt_instances = InstanceData(
        bboxes=boxes, labels=torch.zeros(OBJECTS).long(), masks=BitmapMasks(masks.numpy(), height, width)
    )
    return sample
