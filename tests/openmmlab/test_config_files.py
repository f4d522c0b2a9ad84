"""Configs found where mmengine looks for them: bases and inferencers by the names of this package's configs."""

import numpy as np
import pytest
from mmengine.infer import BaseInferencer

import mmvssm.openmmlab  # noqa: F401


class Named(BaseInferencer):
    """What an inferencer makes of the name that it is given."""

    def __init__(self, scope: str):
        self.scope = scope

    def __call__(self, *args, **kwargs):
        raise NotImplementedError

    _init_pipeline = preprocess = visualize = postprocess = __call__


@pytest.mark.parametrize(
    ('scope', 'name', 'published'),
    [
        ('mmdet', 'mask_rcnn_vmamba_t', 'vmamba_tiny_s1l8.mask_rcnn_1x_coco'),
        ('mmdet', 'mask_rcnn_localvmamba_t', None),  # the backbone's weights are none of a detector
        ('mmseg', 'upernet_vil_t', None),
    ],
)
def test_an_inferencer_knows_the_names_of_the_configs(scope, name, published):
    cfg, weights = Named(scope)._load_model_from_metafile(name)
    assert cfg.filename.endswith(f'{name}.py')
    assert weights == published


def test_an_inferencer_refuses_an_unknown_name():
    with pytest.raises(ValueError, match='Cannot find model: mask_rcnn_nothing'):
        Named('mmdet')._load_model_from_metafile('mask_rcnn_nothing')


@pytest.mark.slow
def test_a_detector_by_name_finds_something():
    from mmdet.apis import DetInferencer

    found = DetInferencer(model='mask_rcnn_efficientvmamba_t', device='cpu', show_progress=False)
    (prediction,) = found(np.zeros((64, 96, 3), np.uint8), return_datasamples=False)['predictions']
    assert set(prediction) == {'labels', 'scores', 'bboxes', 'masks'}
