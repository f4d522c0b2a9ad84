"""Figures of what models do: right values behind them, on models whose answer is known."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from mmvssm import create_model, scans
from mmvssm.errors import UsageError
from mmvssm.pictures import (
    draw_curves,
    draw_directions,
    draw_features,
    draw_layers,
    draw_orders,
    draw_receptive_fields,
    draw_response,
    read_run,
    receptive_field,
    response,
    save,
    scan_outputs,
)
from mmvssm.pictures.erf import area
from mmvssm.pictures.features import principal_colours
from mmvssm.pictures.scan_paths import layers

IMAGE = np.zeros((28, 42, 3), np.uint8)


def test_each_layer_with_its_orders():
    found = layers(create_model('test_localvmamba'))
    assert set().union(*found.values()) == set(scans.LOCAL_SCAN)


def test_vil_reads_forwards_and_backwards_by_turns():
    assert list(layers(create_model('vil_tiny')).values())[:4] == [('h',), ('h_flip',)] * 2


def test_heracles_has_no_order():
    with pytest.raises(UsageError, match='no layers that read tokens in an order'):
        draw_layers(create_model('test_heracles'))


def test_a_path_goes_through_the_tokens_as_they_are_read():
    figure = draw_orders(['v'], grid=(3, 2))
    (lines,) = figure.axes[0].collections
    points = [tuple(map(int, segment[0])) for segment in lines.get_segments()] + [(1, 2)]
    assert points == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]  # x, y


def test_titles_tell_what_is_skipped_and_padded():
    figure = draw_orders(['atrous0', 'w2', lambda H, W: torch.tensor([0, -1, 1])], grid=(3, 3))
    titles = [axis.get_title() for axis in figure.axes[:3]]
    assert titles == ['atrous0, skips 5', 'w2, 7 padded', '<lambda>, skips 7, 1 padded']


def test_layers_that_are_alike_share_a_row():
    figure = draw_layers(create_model('test_vmamba'), grid=(4, 4))
    assert figure.axes[0].get_title().startswith('layers 0-')
    with pytest.raises(UsageError, match='there is no layer 99; allowed: 0 to'):
        draw_layers(create_model('test_vmamba'), only=[99])


def test_receptive_field_of_a_convolution_is_its_kernel():
    net = nn.Conv2d(3, 5, 3, padding=1)
    field = receptive_field(lambda x: [net(x)], torch.randn(2, 3, 8, 10))
    wanted = net.weight.detach().sum(0).abs().sum(0)
    assert field.shape == (8, 10)
    assert np.allclose(field[3:6, 4:7], wanted / wanted.max(), atol=1e-6)
    assert np.count_nonzero(field) == 9


def test_share_of_an_even_field():
    assert area(np.ones((10, 10)), 0.5) == pytest.approx(0.5**0.5, abs=0.01)
    assert draw_receptive_fields({'a': np.ones((4, 4)), 'b': np.eye(4)}).axes[1].get_title() == 'b'


def test_response_is_the_jacobian_s():
    weights = torch.randn(5, 5)
    maps = lambda x: [x, torch.einsum('bchw,hg->bcgw', x, weights)]  # noqa: E731
    same, mixed = response(maps, torch.randn(1, 3, 5, 6), (2, 1), 1)
    assert same.nonzero().tolist() == [[2, 1]]
    assert torch.allclose(mixed[:, 1], weights[2].abs() / weights[2].abs().max(), atol=1e-6)
    with pytest.raises(UsageError, match='rows are 0 to 4, columns 0 to 5'):
        response(maps, torch.randn(1, 3, 5, 6), (5, 0), 1)


@pytest.mark.parametrize(
    'name', ['test_vmamba', 'test_localvmamba', 'test_efficientvmamba', 'test_vim', 'test_localvim']
)
def test_outputs_of_directions_add_up_to_the_scan(name):
    model = create_model(name).eval()
    image = torch.randn(1, 3, 64, 64)
    outputs = scan_outputs(model, image)
    assert len(outputs) == len(layers(model))
    assert [one.shape[2] for one in outputs] == [len(orders) for orders in layers(model).values()]
    assert all(bool(one.abs().sum() > 0) for one in outputs)


def test_watching_changes_nothing():
    model, image = create_model('test_localvmamba').eval(), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = model(image)
        scan_outputs(model, image)
        assert torch.equal(model(image), before)


def test_models_without_scans_say_so():
    with pytest.raises(UsageError, match='has no selective scan'):
        scan_outputs(create_model('test_vil'), torch.randn(1, 3, 64, 64))


def test_principal_colours_follow_the_main_direction():
    values = torch.zeros(7, 4, 6)
    values[2] = torch.linspace(0, 1, 6)
    red = principal_colours(values)[..., 0]
    assert red.min() == 0
    assert red.max() == 1
    assert np.all(np.diff(red, axis=1) >= 0) or np.all(np.diff(red, axis=1) <= 0)


@pytest.mark.parametrize('suffix', ['png', 'pdf', 'svg'])
def test_every_figure_is_written(suffix, tmp_path):
    maps = {'a': torch.randn(5, 4, 6), 'b': torch.randn(2, 2, 3)}
    figures = [
        draw_features(IMAGE, maps),
        draw_directions(IMAGE, {'h': torch.randn(24, 3), 'v': torch.randn(24, 3)}, (4, 6)),
        draw_response(IMAGE, {'a': torch.rand(4, 6)}, (1, 1), 7),
        draw_layers(create_model('test_vim'), image=IMAGE),
    ]
    for i, figure in enumerate(figures):
        assert save(figure, tmp_path / f'{i}.{suffix}').stat().st_size > 1000


def test_unknown_suffix():
    with pytest.raises(UsageError, match=r'ends with \.png, \.pdf, \.svg'):
        save(draw_orders(['h']), 'picture.gif')


def write_run(folder, records):
    path = folder / '20261126_1/vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(map(json.dumps, records)) + '\n{"loss": 1')  # killed while it wrote
    return folder


def test_curves_of_runs(tmp_path):
    records = [{'loss': 3.0, 'iter': 1, 'step': 1}, {'loss': 2.0, 'step': 2}, {'coco/bbox_mAP': 0.5, 'step': 2}]
    one = read_run(write_run(tmp_path / 'one', records))
    assert one == {'loss': ([1, 2], [3.0, 2.0]), 'coco/bbox_mAP': ([2], [0.5])}
    two = read_run(
        write_run(tmp_path / 'two', [{'loss': float('nan') if i == 5 else 1.0, 'step': i} for i in range(150)])
    )
    figure = draw_curves({'one': one, 'two': two})
    assert [axis.get_title() for axis in figure.axes] == ['loss', 'coco/bbox_mAP']
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ['one', 'two']


def test_curves_that_are_not_there(tmp_path):
    with pytest.raises(UsageError, match=r'no vis_data/scalars\.json'):
        read_run(tmp_path)
    with pytest.raises(UsageError, match='no run has a quantity mAP; there are loss'):
        draw_curves({'a': {'loss': ([1], [2])}}, ['mAP'])
