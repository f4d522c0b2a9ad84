"""Whole models in files that run elsewhere."""

import pytest

from mmvssm import create_model
from mmvssm.export import export

FAMILIES = {
    'vmamba': 1,
    'localvmamba': 1,
    'efficientvmamba': 1,
    'heracles': 1,
    'vim': 16,  # plain families pad images to whole patches, which a graph does not hold
    'localvim': 16,
    'vil': 16,
}


@pytest.mark.slow
@pytest.mark.parametrize('family', FAMILIES)
def test_maps_at_every_size_in_onnx(family, tmp_path):
    model = create_model(f'test_{family}', features_only=True)
    found = export(model, tmp_path / 'a.onnx', size=(96, 128), dynamic=True, multiple=FAMILIES[family])
    assert max(found.errors.values()) <= 1e-4
    assert found.speed['onnxruntime'] > 0


@pytest.mark.parametrize('dynamic', [pytest.param(False, marks=pytest.mark.slow), True], ids=['one size', 'every size'])
def test_classifier_in_torch_s_own_format(dynamic, tmp_path):
    model = create_model('test_vim')
    found = export(model, tmp_path / 'a.pt2', format='pt2', size=(64, 64), dynamic=dynamic, multiple=16)
    assert max(found.errors.values()) <= 1e-5
