"""For `mmvssm doctor`: does a detector train here, and on which operators?"""

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData

from mmvssm import configs
from mmvssm.doctor.finding import ERROR, NOTE, Finding
from mmvssm.openmmlab import device, ops

CONFIG = 'demo/mask_rcnn_localvmamba_nuclei'


def examine() -> tuple[dict[str, str], list[Finding]]:
    """(step -> what happened, what is wrong)."""
    stand_ins = ops.install()
    job = {'mmcv operators': "torchvision's and PyTorch's in their place" if stand_ins else 'compiled'}
    found = []
    if stand_ins:
        remedy = 'what is covered: docs/operators.md; a compiled mmcv is a little faster on GPUs'
        found.append(Finding(NOTE, 'mmcv has no compiled operators here: stand-ins serve', remedy))
    try:
        job['detector'] = f'trains: a step of {CONFIG} has loss {_step():.2f}'
    except Exception as error:
        job['detector'] = f'fails: {type(error).__name__}: {error}'.splitlines()[0]
        found.append(Finding(ERROR, f'a detector {job["detector"]}', 'please report `mmvssm doctor --json`'))
    return job, found


def _step() -> float:
    """The loss of a training step, forward and backward, on noise with one object."""
    cfg = Config.fromfile(configs.find(CONFIG))
    device.fit_device(cfg)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model).train()
    size = (64, 96)
    sample = _sample(size)
    data = model.data_preprocessor(
        {'inputs': [torch.zeros(3, *size, dtype=torch.uint8)], 'data_samples': [sample]}, True
    )
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    if not torch.isfinite(loss):
        raise ValueError(f'the loss is {loss.item()}')
    return loss.item()


def _sample(size: tuple[int, int]):
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    sample = DetDataSample(metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0), img_id=0))
    mask = torch.zeros(1, *size, dtype=torch.uint8)
    mask[:, 10:40, 20:60] = 1
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[20.0, 10.0, 60.0, 40.0]]),
        labels=torch.tensor([0]),
        masks=BitmapMasks(mask.numpy(), *size),
    )
    return sample
