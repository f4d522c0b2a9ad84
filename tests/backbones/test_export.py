"""Micro models through torch.export, ONNX, torch.compile and torch.jit.trace, held to the model itself."""

import warnings

import onnxruntime
import pytest
import torch

from mmvssm import create_model, list_models

MODELS = list_models('test_*')
SIZES = [(64, 96), (72, 56)]


def _run_onnx(model, image, path) -> list[torch.Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.onnx.export(model, (image,), dynamo=True, verbose=False).save(path)
    session = onnxruntime.InferenceSession(path)
    return [torch.from_numpy(z) for z in session.run(None, {session.get_inputs()[0].name: image.numpy()})]


@pytest.mark.slow
@pytest.mark.parametrize('size', SIZES, ids='{0[0]}x{0[1]}'.format)
@pytest.mark.parametrize('name', MODELS)
def test_onnxruntime_agrees(name, size, tmp_path):
    torch.manual_seed(0)
    model = create_model(name, features_only=True).eval()
    image = torch.randn(1, 3, *size)
    with torch.no_grad():
        expected = model(image)
        found = _run_onnx(model, image, tmp_path / 'model.onnx')
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        assert (a - b).abs().max() <= 1e-4 * b.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize('name', MODELS)
def test_exported_program_agrees_and_holds_no_custom_operator(name):
    torch.manual_seed(0)
    model = create_model(name, features_only=True).eval()
    image = torch.randn(1, 3, 72, 56)
    with torch.no_grad():
        program = torch.export.export(model, (image,))
        for a, b in zip(program.module()(image), model(image)):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * b.abs().max().item())
    assert not any('mmvssm' in str(node.target) for node in program.graph.nodes)


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', MODELS)
def test_traced_module_agrees_after_saving(name, tmp_path):
    torch.manual_seed(0)
    model = create_model(name, features_only=True).eval()
    traced = torch.jit.trace(model, torch.randn(1, 3, 72, 56), check_trace=False)
    traced.save(tmp_path / 'model.pt')
    image = torch.randn(1, 3, 72, 56)
    with torch.no_grad():
        for a, b in zip(torch.jit.load(tmp_path / 'model.pt')(image), model(image), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5 * float(b.abs().max()))
        with pytest.raises(torch.jit.Error, match='traced for images of 72 x 56 pixels; got 56 x 72'):
            torch.jit.load(tmp_path / 'model.pt')(image.mT)


@pytest.mark.slow
def test_inductor_takes_a_second_size_with_gradients():
    """The first size is compiled as a constant, the second as a symbol."""
    torch.manual_seed(0)
    torch._dynamo.reset()
    model = create_model('test_vmamba').eval()
    compiled = torch.compile(model)
    weights = list(model.parameters())
    for size in (64, 96):
        image = torch.randn(1, 3, size, size)
        expected, found = model(image), compiled(image)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        gradients = (torch.autograd.grad(y.square().sum(), weights) for y in (expected, found))
        for a, b in zip(*gradients, strict=True):
            torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5 * float(a.abs().max()))
