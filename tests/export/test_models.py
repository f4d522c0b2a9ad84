"""Whole models in files that run elsewhere; slow, but for one of each format."""

import pytest

from mmvssm import create_model
from mmvssm.export import export

QUICK = ['test_vim']
SLOW = ['test_vmamba', 'test_localvmamba', 'test_efficientvmamba', 'test_localvim', 'test_vil', 'test_heracles']


@pytest.mark.parametrize('name', [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_maps_at_every_size_in_onnx(name, tmp_path):
    model = create_model(name, features_only=True)
    found = export(model, tmp_path / 'a.onnx', size=(96, 128), dynamic=True)
    assert max(found.errors.values()) <= 1e-4
    assert found.speed['onnxruntime'] > 0


@pytest.mark.parametrize('dynamic', [False, True], ids=['one size', 'every size'])
def test_classifier_in_torch_s_own_format(dynamic, tmp_path):
    found = export(create_model('test_vim'), tmp_path / 'a.pt2', format='pt2', size=(64, 64), dynamic=dynamic)
    assert max(found.errors.values()) <= 1e-5
