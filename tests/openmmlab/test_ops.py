"""mmcv.ops on the stand-ins, called as mmdet and mmseg call it, against the definitions in naive.py."""

import importlib
import importlib.util
import sys

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from mmvssm.openmmlab import ops

ops.install()

from mmcv import ops as mmcv_ops  # noqa: E402  (it imports only once the stand-ins are in place)

from . import naive  # noqa: E402

DEVICES = ['cpu'] + ['cuda'] * torch.cuda.is_available()
HALVES = pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=['fp16', 'bf16'])


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


def grads_of(output, inputs, cotangent):
    return torch.autograd.grad((output * cotangent.to(output)).sum(), inputs)


def assert_same_function(function, reference, inputs, rng, tolerance=1e-10):
    """Equal values and gradients in float64, for a random cotangent."""
    ours, theirs = ([t.detach().clone().requires_grad_() for t in inputs] for _ in range(2))
    value, expected = function(*ours), reference(*theirs)
    assert value.shape == expected.shape
    torch.testing.assert_close(value.cpu(), expected.cpu(), rtol=tolerance, atol=tolerance)
    cotangent = torch.rand(expected.shape, generator=rng, dtype=torch.float64)
    for grad, wanted in zip(grads_of(value, ours, cotangent), grads_of(expected, theirs, cotangent)):
        torch.testing.assert_close(grad.cpu(), wanted.cpu(), rtol=tolerance, atol=tolerance)


# --- installation
# ---------------------------------------------------------------------------------------------------


def test_install_is_idempotent_and_says_that_it_serves():
    extension = sys.modules['mmcv._ext']
    assert ops.install() is True
    assert sys.modules['mmcv._ext'] is extension


def test_mmengine_and_mmcv_find_the_operators():
    from mmcv.utils.ext_loader import check_ops_exist
    from mmengine.utils.dl_utils.misc import mmcv_full_available

    assert importlib.util.find_spec('mmcv._ext').name == 'mmcv._ext'
    assert mmcv_full_available()
    assert check_ops_exist()


def test_compiled_mmcv_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / '_ext.py').write_text('compiled = True')
    monkeypatch.delitem(sys.modules, 'mmcv._ext')
    monkeypatch.setattr(sys.modules['mmcv'], '__path__', [str(tmp_path)])
    assert ops.install() is False
    assert importlib.import_module('mmcv._ext').compiled
    assert ops.install() is False


@pytest.mark.parametrize('name', ['box_iou_rotated', 'nms_rotated', 'nms_match', 'three_nn_forward'])
def test_other_operator_is_named_when_called_not_before(name):
    function = getattr(sys.modules['mmcv._ext'], name)
    with pytest.raises(NotImplementedError, match=f"operator '{name}' needs mmcv's compiled extension"):
        function(torch.zeros(1))


def test_mmcv_wrapper_of_a_missing_operator_names_it():
    with pytest.raises(NotImplementedError, match='box_iou_rotated'):
        mmcv_ops.box_iou_rotated(torch.rand(2, 5), torch.rand(3, 5))


def test_compiler_version_says_who_stands_in():
    assert 'torchvision' in mmcv_ops.get_compiler_version()
    assert 'torchvision' in mmcv_ops.get_compiling_cuda_version()


# --- suppression
# ----------------------------------------------------------------------------------------------------


def random_boxes(rng, count, extent=40):
    corner = torch.rand(count, 2, generator=rng) * extent
    return torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=rng) * extent / 2], dim=1)


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.1, 0.5, 0.9])
def test_nms(offset, threshold, rng, device):
    boxes, scores = random_boxes(rng, 61), torch.rand(61, generator=rng)
    dets, kept = mmcv_ops.nms(boxes.to(device), scores.to(device), threshold, offset)
    assert kept.tolist() == naive.nms(boxes, scores, threshold, offset)
    torch.testing.assert_close(dets.cpu(), torch.cat([boxes, scores[:, None]], 1)[kept.cpu()])


def test_nms_offset_changes_what_is_kept():
    # IoU 1/3 as areas, 4/5 as pixels counted inclusively... of boxes one pixel apart
    boxes = torch.tensor([[0.0, 0, 2, 2], [1.0, 0, 3, 2]])
    scores = torch.tensor([0.9, 0.8])
    assert mmcv_ops.nms(boxes, scores, 0.4, offset=0)[1].tolist() == [0, 1]
    assert mmcv_ops.nms(boxes, scores, 0.4, offset=1)[1].tolist() == [0]


def test_nms_score_threshold_and_max_num(rng):
    boxes, scores = random_boxes(rng, 30), torch.rand(30, generator=rng)
    everything = naive.nms(boxes, scores, 0.5, 0)
    kept = mmcv_ops.nms(boxes, scores, 0.5, score_threshold=0.3, max_num=5)[1].tolist()
    assert kept == [i for i in everything if scores[i] > 0.3][:5]


@HALVES
def test_nms_of_half_precision_scores_and_boxes(dtype, rng):
    boxes, scores = random_boxes(rng, 33).to(dtype), torch.randperm(33, generator=rng).to(dtype) / 64
    kept = mmcv_ops.nms(boxes, scores, 0.5)[1]
    assert kept.tolist() == naive.nms(boxes.float(), scores.float(), 0.5, 0)


def test_nms_takes_numpy(rng):
    boxes, scores = random_boxes(rng, 20).numpy(), torch.rand(20, generator=rng).numpy()
    dets, kept = mmcv_ops.nms(boxes, scores, 0.5)
    assert isinstance(dets, np.ndarray)
    assert kept.tolist() == naive.nms(torch.tensor(boxes), torch.tensor(scores), 0.5, 0)


@pytest.mark.parametrize('suppress', ['nms', 'soft_nms'])
def test_suppression_of_nothing(suppress):
    dets, kept = getattr(mmcv_ops, suppress)(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert dets.shape == (0, 5)
    assert kept.shape == (0,)


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('method', ['linear', 'gaussian', 'naive'])
@pytest.mark.parametrize('min_score', [0.001, 0.2])
def test_soft_nms(method, offset, min_score, rng):
    boxes, scores = random_boxes(rng, 47), torch.rand(47, generator=rng)
    dets, kept = mmcv_ops.soft_nms(boxes, scores, 0.3, 0.5, min_score, method, offset)
    expected = naive.soft_nms(boxes, scores, 0.3, 0.5, min_score, method, offset)
    assert kept.tolist() == [i for i, _ in expected]
    torch.testing.assert_close(dets[:, 4], torch.tensor([s for _, s in expected]), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(dets[:, :4], boxes[kept])


def test_soft_nms_keeps_its_inputs(rng):
    boxes, scores = random_boxes(rng, 9), torch.rand(9, generator=rng)
    copies = boxes.clone(), scores.clone()
    mmcv_ops.soft_nms(boxes, scores, method='gaussian')
    assert torch.equal(boxes, copies[0])
    assert torch.equal(scores, copies[1])


def test_soft_nms_of_empty_boxes_lowers_nothing():
    boxes = torch.tensor([[3.0, 1, 3, 1]] * 3)
    dets, _ = mmcv_ops.soft_nms(boxes, torch.tensor([0.9, 0.5, 0.4]), 0.6, method='gaussian')
    torch.testing.assert_close(dets[:, 4], torch.tensor([0.9, 0.5, 0.4]))


@pytest.mark.parametrize('split_thr', [10000, 5], ids=['together', 'class-by-class'])
@pytest.mark.parametrize('kind', ['nms', 'soft_nms'])
def test_batched_nms_treats_classes_apart(kind, split_thr, rng, device):
    boxes, scores = random_boxes(rng, 40), torch.rand(40, generator=rng)
    classes = torch.randint(3, (40,), generator=rng)
    config = dict(type=kind, iou_threshold=0.4, split_thr=split_thr)
    kept = mmcv_ops.batched_nms(boxes.to(device), scores.to(device), classes.to(device), config)[1]
    for c in range(3):
        members = (classes == c).nonzero().flatten()
        if kind == 'nms':
            expected = naive.nms(boxes[members], scores[members], 0.4, 0)
        else:
            taken = naive.soft_nms(boxes[members], scores[members], 0.4, 0.5, 1e-3, 'linear', 0)
            expected = [i for i, _ in taken]
        ours = [i for i in kept.tolist() if classes[i] == c]
        assert ours == members[expected].tolist()


@pytest.mark.parametrize('method', ['linear', 'gaussian', 'naive'])
def test_soft_nms_of_a_detector(method, rng):
    """What `--cfg-options model.test_cfg.rcnn.nms.type=soft_nms` comes to: each class by itself, best scores first."""
    from mmdet.models.layers import multiclass_nms

    boxes, scores = random_boxes(rng, 30), torch.rand(30, 4, generator=rng)  # the last class is background
    config = dict(type='soft_nms', iou_threshold=0.4, sigma=0.3, min_score=0.01, method=method)
    dets, labels = multiclass_nms(boxes, scores, 0.05, config, max_num=50)
    expected = []
    for c in range(3):
        members = (scores[:, c] > 0.05).nonzero().flatten()
        taken = naive.soft_nms(boxes[members], scores[members, c], 0.4, 0.3, 0.01, method, 0)
        expected += [(score, c, *boxes[members[i]].tolist()) for i, score in taken]
    expected = torch.tensor(sorted(expected, reverse=True)[:50])
    assert labels.tolist() == expected[:, 1].tolist()
    torch.testing.assert_close(dets[:, 4], expected[:, 0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(dets[:, :4], expected[:, 2:])


def test_batched_nms_class_agnostic(rng):
    boxes, scores = random_boxes(rng, 40), torch.rand(40, generator=rng)
    config = dict(type='nms', iou_threshold=0.4)
    kept = mmcv_ops.batched_nms(boxes, scores, torch.arange(40) % 3, config, class_agnostic=True)[1]
    assert kept.tolist() == naive.nms(boxes, scores, 0.4, 0)


# --- regions of interest
# --------------------------------------------------------------------------------------------

ROIS = torch.tensor(
    [
        [0, 0.0, 0.0, 9.0, 7.0],
        [1, 3.3, 2.1, 11.9, 18.4],
        [1, -6.0, -5.0, 3.0, 2.5],  # sticks out at the top left
        [0, 14.7, 9.2, 40.0, 41.0],  # and at the bottom right
        [0, 5.0, 5.0, 5.5, 5.25],  # smaller than a pixel
    ],
    dtype=torch.float64,
)


def feature_map(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize('ratio', [0, 1, 2, 3], ids=lambda r: f'ratio{r}')
@pytest.mark.parametrize('aligned', [True, False], ids=['aligned', 'legacy'])
@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_roi_align(mode, aligned, ratio, rng, device):
    layer = mmcv_ops.RoIAlign((3, 2), 0.5, ratio, mode, aligned)
    assert_same_function(
        lambda x: layer(x.to(device), ROIS.to(device)),
        lambda x: naive.roi_align(x, ROIS, (3, 2), 0.5, ratio, mode, aligned),
        [feature_map(rng, 2, 3, 11, 9)],
        rng,
    )


@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_roi_align_gradcheck(mode, rng):
    layer = mmcv_ops.RoIAlign(2, 1.0, 0, mode)
    x = feature_map(rng, 1, 2, 5, 4).requires_grad_()
    assert gradcheck(lambda x: layer(x, ROIS[:1]), (x,))


@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_roi_align_of_a_region_without_size_is_zero(mode, rng):
    layer = mmcv_ops.RoIAlign(2, 1.0, 0, mode)
    x = feature_map(rng, 1, 2, 5, 4).requires_grad_()
    out = layer(x, torch.tensor([[0, 2.0, 2, 2, 2]], dtype=torch.float64))
    out.sum().backward()
    assert not out.any()
    assert not x.grad.any()


@pytest.mark.parametrize('layer', ['avg', 'max', 'pool'])
def test_no_regions(layer, rng):
    pool = mmcv_ops.RoIPool(2, 1.0) if layer == 'pool' else mmcv_ops.RoIAlign(2, 1.0, 0, layer)
    x = feature_map(rng, 1, 3, 5, 4).requires_grad_()
    out = pool(x, torch.zeros(0, 5, dtype=torch.float64))
    assert out.shape == (0, 3, 2, 2)
    out.sum().backward()
    assert not x.grad.any()


@pytest.mark.parametrize('layer', ['avg', 'max', 'pool'])
@HALVES
def test_regions_of_half_precision_are_computed_in_float32(layer, dtype, rng):
    pool = mmcv_ops.RoIPool(3, 0.5) if layer == 'pool' else mmcv_ops.RoIAlign(3, 0.5, 0, layer)
    x = feature_map(rng, 2, 3, 11, 9).to(dtype).requires_grad_()
    wide = x.detach().float().requires_grad_()
    out, expected = pool(x, ROIS.to(dtype)), pool(wide, ROIS.to(dtype).float())
    assert out.dtype == dtype
    assert torch.equal(out, expected.to(dtype))
    out.sum().backward()
    expected.sum().backward()
    assert torch.equal(x.grad, wide.grad.to(dtype))


@pytest.mark.parametrize('scale', [1.0, 0.5, 0.3])
def test_roi_pool(scale, rng, device):
    layer = mmcv_ops.RoIPool((3, 2), scale)
    assert_same_function(
        lambda x: layer(x.to(device), ROIS.to(device)),
        lambda x: naive.roi_pool(x, ROIS, (3, 2), scale),
        [feature_map(rng, 2, 3, 11, 9)],
        rng,
    )


def test_roi_pool_gradcheck(rng):
    x = feature_map(rng, 1, 2, 5, 4).requires_grad_()
    assert gradcheck(lambda x: mmcv_ops.RoIPool(2, 1.0)(x, ROIS[:1]), (x,))


# --- focal losses
# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('weighted', [False, True], ids=['plain', 'class-weights'])
@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
@pytest.mark.parametrize('kind', ['sigmoid', 'softmax'])
def test_focal_loss(kind, gamma, weighted, rng, device):
    logits = 3 * feature_map(rng, 13, 5)
    target = torch.randint(5, (13,), generator=rng)
    target[3] = -1 if kind == 'softmax' else 5  # ignored; background
    weight = torch.rand(5, generator=rng, dtype=torch.float64) if weighted else None
    ours, reference = getattr(mmcv_ops, f'{kind}_focal_loss'), getattr(naive, f'{kind}_focal_loss')
    moved = weight.to(device) if weighted else None
    for reduction, reduce in (('sum', torch.sum), ('mean', lambda loss: loss.sum() / 13)):
        assert_same_function(
            lambda x, reduction=reduction: ours(x.to(device), target.to(device), gamma, 0.3, moved, reduction),
            lambda x, reduce=reduce: reduce(reference(x, target, gamma, 0.3, weight)),
            [logits],
            rng,
        )


def test_sigmoid_focal_loss_without_reduction(rng):
    target = torch.randint(4, (7,), generator=rng)
    assert_same_function(
        lambda x: mmcv_ops.sigmoid_focal_loss(x, target, 2.0, 0.25, None, 'none'),
        lambda x: naive.sigmoid_focal_loss(x, target, 2.0, 0.25),
        [feature_map(rng, 7, 4)],
        rng,
    )


@pytest.mark.parametrize('kind', ['sigmoid', 'softmax'])
@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
def test_focal_loss_stays_finite_for_extreme_logits(kind, gamma):
    logits = torch.tensor([[300.0, -300.0], [-300.0, 300.0]], requires_grad=True)
    loss = getattr(mmcv_ops, f'{kind}_focal_loss')(logits, torch.tensor([0, 0]), gamma, 0.25, None, 'sum')
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize('kind', ['sigmoid', 'softmax'])
def test_focal_loss_of_no_rows(kind):
    logits = torch.zeros(0, 3, requires_grad=True)
    loss = getattr(mmcv_ops, f'{kind}_focal_loss')(logits, torch.zeros(0, dtype=torch.long), 2.0, 0.25, None, 'sum')
    loss.backward()
    assert loss == 0


@HALVES
def test_sigmoid_focal_loss_of_half_precision_is_computed_in_float32(dtype, rng):
    logits, target = feature_map(rng, 9, 4).to(dtype), torch.randint(4, (9,), generator=rng)
    loss = mmcv_ops.sigmoid_focal_loss(logits, target, 2.0, 0.25, None, 'none')
    wide = mmcv_ops.sigmoid_focal_loss(logits.float(), target, 2.0, 0.25, None, 'none')
    assert torch.equal(loss, wide.to(dtype))


# --- deformable convolution
# -----------------------------------------------------------------------------------------

GEOMETRIES = {
    '3x3': dict(kernel=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1, deform_groups=1),
    'strided-groups': dict(kernel=(3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2, deform_groups=2),
    'dilated': dict(kernel=(1, 3), stride=(1, 2), padding=(0, 2), dilation=(1, 2), groups=1, deform_groups=4),
}


def deform_tensors(rng, kernel, stride, padding, dilation, groups, deform_groups, batch=2, size=(7, 6)):
    height, width = ((size[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in (0, 1))
    taps = deform_groups * kernel[0] * kernel[1]
    shapes = [(batch, 4, *size), (batch, 2 * taps, height, width), (6, 4 // groups, *kernel)]
    shapes += [(batch, taps, height, width), (6,)]
    x, offset, weight, mask, bias = (feature_map(rng, *shape) for shape in shapes)
    return x, 1.5 * offset, weight, mask.sigmoid(), bias


@pytest.mark.parametrize('name', GEOMETRIES)
def test_deform_conv2d(name, rng, device):
    _, *rest = GEOMETRIES[name].values()
    x, offset, weight, _, _ = deform_tensors(rng, **GEOMETRIES[name])
    assert_same_function(
        lambda *inputs: mmcv_ops.deform_conv2d(*(t.to(device) for t in inputs), *rest),
        lambda *inputs: naive.deform_conv2d(*inputs, None, None, *rest),
        [x, offset, weight],
        rng,
    )


@pytest.mark.parametrize('bias', [True, False], ids=['bias', 'no-bias'])
@pytest.mark.parametrize('name', GEOMETRIES)
def test_modulated_deform_conv2d(name, bias, rng, device):
    _, *rest = GEOMETRIES[name].values()
    x, offset, weight, mask, shift = deform_tensors(rng, **GEOMETRIES[name])

    def ours(x, offset, mask, weight, *bias):
        inputs = [t.to(device) for t in (x, offset, mask, weight, *bias)]
        return mmcv_ops.modulated_deform_conv2d(*inputs, *([] if bias else [None]), *rest)

    def reference(x, offset, mask, weight, *bias):
        return naive.deform_conv2d(x, offset, weight, mask, bias[0] if bias else None, *rest)

    assert_same_function(ours, reference, [x, offset, mask, weight] + [shift] * bias, rng)


@pytest.mark.parametrize('wanted', ['x', 'offset', 'weight'])
def test_deform_conv2d_gradient_of_one_input_alone(wanted, rng):
    """The wrapper asks for the weight's gradient in a call of its own, with or without the other one before
    it.
    """
    _, *rest = GEOMETRIES['strided-groups'].values()
    tensors = dict(zip(('x', 'offset', 'weight'), deform_tensors(rng, **GEOMETRIES['strided-groups'])))

    def call(function, **extra):
        inputs = {name: t.clone().requires_grad_(name == wanted) for name, t in tensors.items()}
        out = function(*inputs.values(), *extra.values(), *rest)
        return torch.autograd.grad(out.sum(), inputs[wanted])[0]

    expected = call(naive.deform_conv2d, mask=None, bias=None)
    torch.testing.assert_close(call(mmcv_ops.deform_conv2d), expected)


def test_deform_conv2d_backward_twice_gives_the_same(rng):
    _, *rest = GEOMETRIES['3x3'].values()
    inputs = [t.requires_grad_() for t in deform_tensors(rng, **GEOMETRIES['3x3'])[:3]]
    out = mmcv_ops.deform_conv2d(*inputs, *rest).square().sum()
    first = torch.autograd.grad(out, inputs, retain_graph=True)
    for a, b in zip(first, torch.autograd.grad(out, inputs)):
        assert torch.equal(a, b)


def test_deform_conv2d_gradcheck(rng):
    geometry = dict(GEOMETRIES['3x3'], batch=1, size=(3, 4))
    x, offset, weight, _, _ = deform_tensors(rng, **geometry)
    inputs = tuple(t.requires_grad_() for t in (x, offset, weight))
    assert gradcheck(lambda *t: mmcv_ops.deform_conv2d(*t, 1, 1), inputs)


@pytest.mark.parametrize('layer', ['DeformConv2dPack', 'ModulatedDeformConv2dPack'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_deform_layer_with_zero_offset_is_a_convolution(layer, dtype, rng):
    conv = getattr(mmcv_ops, layer)(4, 6, 3, padding=1).to(dtype)
    x = feature_map(rng, 2, 4, 5, 7).to(dtype)
    scale = 0.5 if layer.startswith('Mod') else 1  # a fresh mask is sigmoid(0)
    expected = torch.nn.functional.conv2d(x.float(), conv.weight.float(), padding=1) * scale
    out = conv(x)
    assert out.dtype == dtype
    torch.testing.assert_close(out, expected.to(dtype), rtol=2 * torch.finfo(dtype).eps, atol=1e-6)


# --- deformable attention
# -------------------------------------------------------------------------------------------

LEVELS = torch.tensor([[5, 7], [3, 4], [1, 2]])
STARTS = torch.tensor([0, 35, 47])


def attention_tensors(rng, batch=2, queries=6, heads=2, channels=3, points=4):
    value = feature_map(rng, batch, 49, heads, channels)
    # some of the locations lie outside the maps
    locations = torch.rand(batch, queries, heads, 3, points, 2, generator=rng, dtype=torch.float64) * 1.4 - 0.2
    weights = feature_map(rng, batch, queries, heads, 3, points).flatten(3).softmax(-1)
    return value, locations, weights.view(batch, queries, heads, 3, points)


def attend(value, locations, weights):
    function = mmcv_ops.multi_scale_deform_attn.MultiScaleDeformableAttnFunction
    return function.apply(value, LEVELS.to(value.device), STARTS.to(value.device), locations, weights, 64)


def test_ms_deform_attn(rng, device):
    assert_same_function(
        lambda *inputs: attend(*(t.to(device) for t in inputs)),
        lambda value, locations, weights: naive.ms_deform_attn(value, LEVELS, locations, weights),
        attention_tensors(rng),
        rng,
    )


def test_ms_deform_attn_is_mmcvs_own_grid_sample_form(rng):
    """The form that mmcv's layer takes on a CPU, in float64, values and gradients."""
    assert_same_function(
        attend,
        lambda value, *rest: mmcv_ops.multi_scale_deform_attn.multi_scale_deformable_attn_pytorch(value, LEVELS, *rest),
        attention_tensors(rng),
        rng,
    )


def test_ms_deform_attn_gradcheck(rng):
    inputs = attention_tensors(rng, batch=1, queries=2, heads=1, channels=2, points=2)
    assert gradcheck(attend, tuple(t.requires_grad_() for t in inputs))


def test_ms_deform_attn_of_no_queries(rng):
    assert attend(*attention_tensors(rng, queries=0)).shape == (2, 0, 6)


@HALVES
def test_ms_deform_attn_of_half_precision_is_computed_in_float32(dtype, rng):
    inputs = [t.to(dtype) for t in attention_tensors(rng)]
    assert torch.equal(attend(*inputs), attend(*(t.float() for t in inputs)).to(dtype))


def test_deformable_detr_attention_module(rng, device):
    """The layer of Deformable DETR, where it calls the compiled operator (CUDA) and where it does not."""
    layer = mmcv_ops.MultiScaleDeformableAttention(
        embed_dims=16, num_heads=2, num_levels=3, num_points=4, dropout=0.0, batch_first=True
    ).to(device)
    torch.nn.init.normal_(layer.attention_weights.weight)
    query = torch.randn(2, 6, 16, generator=rng).to(device).requires_grad_()
    value = torch.randn(2, 49, 16, generator=rng).to(device)
    out = layer(
        query,
        value=value,
        reference_points=torch.rand(2, 6, 3, 2, generator=rng).to(device),
        spatial_shapes=LEVELS.to(device),
        level_start_index=STARTS.to(device),
    )
    out.square().sum().backward()
    assert out.shape == (2, 6, 16)
    assert query.grad.abs().sum() > 0
    assert layer.sampling_offsets.weight.grad.abs().sum() > 0
