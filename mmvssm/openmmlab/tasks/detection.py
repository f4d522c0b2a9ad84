"""Detection and instance segmentation, by mmdet."""

from mmengine.config import Config

from mmvssm.errors import UsageError
from mmvssm.openmmlab import tiles
from mmvssm.openmmlab.layouts.coco import COCO
from mmvssm.openmmlab.layouts.layout import evaluators
from mmvssm.openmmlab.tta import pipelines
from mmvssm.pictures import Instances

from .task import Benchmark, Task


def _show_in(cfg: Config, folder: str) -> None:
    cfg.default_hooks.visualization.test_out_dir = folder


def _keep_predictions(cfg: Config, out: str) -> None:
    """mmdet dumps a pickle."""
    if not out.endswith(('.pkl', '.pickle')):
        raise UsageError(f'--out {out}: a detector dumps into one file, whose name must end with .pkl or .pickle')
    cfg.test_evaluator = [*evaluators(cfg, 'test'), dict(type='DumpDetResults', out_file_path=out)]


def _augment_tests(cfg: Config) -> None:
    nms = dict(type='nms', iou_threshold=0.5)
    model = dict(type='mmvssm.MaskTTAModel', tta_cfg=dict(nms=nms, max_per_img=100))
    pipelines.complete(cfg, model, 'DetTTAModel', (1.0, 0.8, 1.2))


def _found(sample) -> dict[str, Instances]:
    found = sample.pred_instances
    parts = {key: found[key].cpu().numpy() for key in ('bboxes', 'labels', 'masks', 'scores') if key in found}
    return dict(instances=Instances(parts['bboxes'], parts['labels'], parts.get('masks'), parts.get('scores')))


def _truth(sample) -> dict[str, Instances]:
    truth = sample.gt_instances
    boxes = getattr(truth.bboxes, 'tensor', truth.bboxes).numpy()
    masks = truth.masks.to_ndarray() if 'masks' in truth else None
    return dict(instances=Instances(boxes, truth.labels.numpy(), masks))


SIZES = {'': '', '50': '_50', '75': '_75', 's': '_s', 'm': '_m', 'l': '_l'}
METRICS = {
    f'{kind}_AP{size}': f'coco/{name}_mAP{suffix}'
    for kind, name in (('box', 'bbox'), ('mask', 'segm'))
    for size, suffix in SIZES.items()
}

DETECTION = Task(
    scope='mmdet',
    how_to_get='COCO: https://cocodataset.org/#download (train2017, val2017, annotations), unpacked into data/coco',
    layouts=(COCO,),
    show_in=_show_in,
    keep_predictions=_keep_predictions,
    augment_tests=_augment_tests,
    found=_found,
    truth=_truth,
    tile=lambda cfg, pipeline, side, overlap: pipeline,
    predict_tiles=tiles.predict,
    labels='COCO',
    benchmark=Benchmark(5000, METRICS, scale=100.0),
)
