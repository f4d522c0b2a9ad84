"""Every family's micro model through torch.export and ONNX, at two sizes, held to the model itself."""

import warnings

import pytest
import torch

from mmvssm.backbones import create_model

FAMILIES = ('vmamba', 'localvmamba', 'efficientvmamba', 'heracles', 'localvim', 'vil', 'vim')
SIZES = [(64, 96), (72, 56)]


def _run_onnx(model, image, path) -> list[torch.Tensor]:
    onnxruntime = pytest.importorskip('onnxruntime')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.onnx.export(model, (image,), dynamo=True, verbose=False).save(path)
    session = onnxruntime.InferenceSession(path)
    return [torch.from_numpy(z) for z in session.run(None, {session.get_inputs()[0].name: image.numpy()})]


@pytest.mark.slow
@pytest.mark.parametrize('size', SIZES, ids='{0[0]}x{0[1]}'.format)
@pytest.mark.parametrize('family', FAMILIES)
def test_onnxruntime_agrees(family, size, tmp_path):
    torch.manual_seed(0)
    model = create_model(f'test_{family}', features_only=True).eval()
    image = torch.randn(1, 3, *size)
    with torch.no_grad():
        expected = model(image)
        found = _run_onnx(model, image, tmp_path / 'model.onnx')
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        assert (a - b).abs().max() <= 1e-4 * b.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize('family', FAMILIES)
def test_exported_program_agrees_and_holds_no_custom_operator(family):
    torch.manual_seed(0)
    model = create_model(f'test_{family}', features_only=True).eval()
    image = torch.randn(1, 3, 72, 56)
    with torch.no_grad():
        program = torch.export.export(model, (image,))
        for a, b in zip(program.module()(image), model(image)):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * b.abs().max().item())
    assert not any('mmvssm' in str(node.target) for node in program.graph.nodes)
