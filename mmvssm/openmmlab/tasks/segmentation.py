"""Semantic segmentation, by mmseg."""

import numpy as np
from mmengine.config import Config

from mmvssm.errors import UsageError
from mmvssm.openmmlab.layouts.ade20k import ADE20K
from mmvssm.openmmlab.layouts.pairs import CITYSCAPES, PAIRS, VOC
from mmvssm.openmmlab.preflight.places import matching
from mmvssm.openmmlab.tta import pipelines

from .task import Benchmark, Task


def _show_in(cfg: Config, folder: str) -> None:
    cfg.visualizer.save_dir = folder


def _keep_predictions(cfg: Config, out: str) -> None:
    """mmseg writes label images."""
    cfg.test_evaluator.update(output_dir=out, keep_results=True)


def _augment_tests(cfg: Config) -> None:
    pipelines.complete(cfg, dict(type='mmvssm.SegTTAModel'), 'SegTTAModel', (1.0, 0.75, 1.25))
    for _, value in matching(cfg, 'tta_pipeline.*.transforms.*.*.direction'):
        if 'diagonal' in (value if isinstance(value, list | tuple) else [value]):
            raise UsageError('tta_pipeline: mmseg un-flips horizontal and vertical flips only, not diagonal ones')


def _found(sample) -> dict[str, np.ndarray]:
    return dict(labels=sample.pred_sem_seg.data.squeeze(0).cpu().numpy())


def _truth(sample) -> dict[str, np.ndarray]:
    return dict(labels=sample.gt_sem_seg.data.squeeze(0).numpy())


def _tile(cfg: Config, pipeline: list, side: int, overlap: float) -> list:
    """mmseg's sliding window, on images at their own size."""
    stride = max(1, round(side * (1 - overlap)))
    cfg.model.test_cfg = dict(mode='slide', crop_size=(side, side), stride=(stride, stride))
    return [step for step in pipeline if step['type'] != 'Resize']


SEGMENTATION = Task(
    scope='mmseg',
    how_to_get='ADE20K: http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip, unpacked into data/ade',
    layouts=(VOC, CITYSCAPES, ADE20K, PAIRS),
    show_in=_show_in,
    keep_predictions=_keep_predictions,
    augment_tests=_augment_tests,
    found=_found,
    truth=_truth,
    tile=_tile,
    benchmark=Benchmark(2000, dict(mIoU='mIoU', pixel_acc='aAcc')),
)
