"""What necks, hooks, optimizer and preprocessor are told wrongly is named in a line, with what is allowed."""

import math

import numpy as np
import pytest

pytest.importorskip('mmvssm.openmmlab')

from mmvssm.openmmlab.hooks.contact_sheet import ContactSheetHook
from mmvssm.openmmlab.hooks.nan_watch import NaNWatchHook
from mmvssm.openmmlab.hooks.strict_load import StrictLoadHook
from mmvssm.openmmlab.necks import ChannelNorm, NormalConv2d, RescalePyramid, SimplePyramid
from mmvssm.openmmlab.optim import LayerDecayOptimWrapperConstructor
from mmvssm.openmmlab.preprocessing import FixedSizeDataPreprocessor

COUNT = [True, 1.5, '3', 0, -1, None, math.nan]
NUMBER = [True, '1', None, math.nan, [1]]
CONFIG = ['BN', 3, True]


def layer_decay(**options):
    """Refused before the model is looked at."""
    return LayerDecayOptimWrapperConstructor(dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1)), options)(None)


CASES = [
    (ContactSheetHook, {}, dict(num_images=COUNT, columns=COUNT, score=[*NUMBER, 1.5, -0.1], name=[None, 3, ''])),
    (NaNWatchHook, {}, dict(action=['stop', None, True, ['raise']])),
    (StrictLoadHook, {}, dict(heads_may_differ=['yes', 1, None])),
    (
        RescalePyramid,
        dict(in_channels=8),
        dict(
            in_channels=[*COUNT, [8, 8], [8, 8, 8, 0]],
            patch_size=[4, 16.0, '16', None],
            norm_cfg=CONFIG,
            init_cfg=CONFIG,
        ),
    ),
    (
        SimplePyramid,
        dict(in_channels=8),
        dict(
            in_channels=[*COUNT, 2],
            out_channels=COUNT,
            stride=COUNT,
            scales=[(3,), (), 4, '4', (4, '2'), None],
            num_outs=[*COUNT, 2],
            init_cfg=CONFIG,
        ),
    ),
    (ChannelNorm, dict(num_channels=8), dict(num_channels=COUNT, eps=[*NUMBER, 0])),
    (NormalConv2d, dict(in_channels=8, out_channels=8, kernel_size=1), dict(std=[*NUMBER, -1])),
    (
        FixedSizeDataPreprocessor,
        dict(size=(8, 8)),
        dict(size=[8, (8,), (8, 8, 3), (8, 0), (8, 8.0), None], fill=NUMBER),
    ),
    (layer_decay, {}, dict(layer_decay=[*NUMBER, 0, 1.5], no_decay=['norm', [3], [''], True])),
]


@pytest.mark.parametrize(
    ('build', 'good', 'field', 'value'),
    [
        pytest.param(build, good, field, value, id=f'{build.__name__}-{field}={value!r}')
        for build, good, fields in CASES
        for field, values in fields.items()
        for value in values
    ],
)
def test_what_is_wrong_is_named(build, good, field, value):
    with pytest.raises(ValueError, match=rf'^{field}=.* is not supported; allowed: ') as caught:
        build(**{**good, field: value})
    assert '\n' not in str(caught.value)


def test_an_unknown_argument_is_named():
    with pytest.raises(
        TypeError, match="ContactSheetHook got an unknown argument 'rows'; allowed: num_images, columns"
    ):
        ContactSheetHook(rows=3)


def test_numpy_and_lists_are_as_good():
    assert len(SimplePyramid(np.int64(8), scales=[4, np.float32(0.5)], num_outs=np.int64(3)).levels) == 2
    assert ContactSheetHook(score=np.float64(0.25)).score == 0.25
    assert FixedSizeDataPreprocessor(size=[np.int64(8), 9]).size == (8, 9)
