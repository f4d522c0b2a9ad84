"""The ground of the plain families: grids, padding, resized tables, class tokens, rotation, causal convolution."""

import copy

import pytest
import torch
import torch.nn.functional as F

from mmvssm.backbones._mamba_stream import (
    class_positions,
    join_class,
    rotate,
    rotation_tables,
    split_class,
)
from mmvssm.backbones._single_stride import (
    TableResizer,
    grid_size,
    last_of_quarters,
    pad_image,
    resize_table,
    square_grid,
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ('size', 'patch', 'stride', 'padded'),
    [
        ((61, 75), 16, 16, (64, 80)),
        ((64, 80), 16, 16, (64, 80)),
        ((7, 40), 16, 8, (16, 40)),
        ((1, 1), 16, 16, (16, 16)),
    ],
    ids=str,
)
def test_images_are_padded_to_whole_strides(size, patch, stride, padded):
    x = torch.randn(1, 3, *size)
    out = pad_image(x, patch, stride)
    assert tuple(out.shape[2:]) == padded
    torch.testing.assert_close(out[:, :, : size[0], : size[1]], x)
    assert out.abs().sum() == pytest.approx(float(x.abs().sum()))


def test_padding_to_a_patch_alone_leaves_remainders():
    assert pad_image(torch.zeros(1, 3, 61, 9), 16, 16, to_stride=False).shape == (1, 3, 61, 16)


def test_grid_is_that_of_an_unpadded_convolution():
    x = torch.zeros(1, 1, 75, 61)
    assert grid_size((75, 61), 16, 8) == F.conv2d(x, torch.zeros(1, 1, 16, 16), stride=8).shape[2:]


@pytest.mark.parametrize(('count', 'grid'), [(196, (14, 14)), (197, None), (1, (1, 1))])
def test_square_grid(count, grid):
    assert square_grid(count) == grid


@pytest.mark.parametrize(
    ('depth', 'taps'), [(20, (4, 9, 14, 19)), (24, (5, 11, 17, 23)), (4, (0, 1, 2, 3)), (2, (0, 1)), (1, (0,))]
)
def test_default_taps_end_each_quarter(depth, taps):
    assert last_of_quarters(depth) == taps


class TestTables:
    def test_resized_separately_in_rows_and_columns(self):
        rows = torch.arange(6.0)[:, None].expand(6, 4)
        table = torch.stack([rows.reshape(-1), torch.ones(24)], dim=-1)[None]
        out = resize_table(table, (6, 4), (6, 9)).view(6, 9, 2)
        torch.testing.assert_close(out[:, :, 0], torch.arange(6.0)[:, None].expand(6, 9))
        torch.testing.assert_close(out[:, :, 1], torch.ones(6, 9))

    def test_same_grid_is_the_table_itself(self):
        table = torch.randn(1, 12, 5)
        assert resize_table(table, (3, 4), (3, 4)) is table

    def test_half_types_are_interpolated_in_float32(self):
        table = torch.randn(16, 3).bfloat16()
        expected = resize_table(table.float(), (4, 4), (5, 7)).bfloat16()
        torch.testing.assert_close(resize_table(table, (4, 4), (5, 7)), expected, rtol=0, atol=0)

    def test_remembered_while_the_table_stays_as_it_is(self):
        resize, table = TableResizer(), torch.nn.Parameter(torch.randn(1, 16, 3))
        with torch.no_grad():
            first = resize('t', table, (4, 4), (5, 7))
            assert resize('t', table, (4, 4), (5, 7)) is first
            table.data.mul_(2)  # an EMA swap goes through `.data`, which leaves no trace in the version counter
            torch.testing.assert_close(resize('t', table, (4, 4), (5, 7)), 2 * first)
            assert resize('t', table, (4, 4), (6, 7)).shape == (1, 42, 3)

    def test_gradient_flows_to_a_resized_parameter(self):
        resize, table = TableResizer(), torch.nn.Parameter(torch.randn(1, 16, 3))
        with torch.no_grad():
            resize('t', table, (4, 4), (5, 7))
        resize('t', table, (4, 4), (5, 7)).sum().backward()
        assert table.grad.abs().sum() > 0

    def test_made_in_inference_mode_serves_training(self):
        resize, table = TableResizer(), torch.randn(1, 16, 3)
        with torch.inference_mode():
            resize('t', table, (4, 4), (5, 7))
        weight = torch.ones(3, requires_grad=True)
        (resize('t', table, (4, 4), (5, 7)) * weight).sum().backward()
        assert weight.grad.isfinite().all()
        assert copy.deepcopy(resize)('t', table, (4, 4), (5, 7)).shape == (1, 35, 3)


@pytest.mark.parametrize('where', [None, 'middle', 'first', 'both'])
@pytest.mark.parametrize('count', [1, 6, 7])
def test_class_tokens_are_taken_out_where_they_were_put(where, count):
    patches, tokens = torch.randn(2, count, 3), [torch.randn(2, 1, 3) for _ in class_positions(count, where)]
    sequence = join_class(patches, tokens, where)
    assert sequence.shape[1] == count + len(tokens)
    for p, token in zip(class_positions(count, where), tokens):
        torch.testing.assert_close(sequence[:, p : p + 1], token)
    back, again = split_class(sequence, count, where)
    torch.testing.assert_close(back, patches)
    torch.testing.assert_close(again, tokens)


def test_rotation_keeps_lengths_and_adds_up():
    cos, sin = rotation_tables((3, 5), 8)
    x = torch.randn(2, 15, 8)
    once = rotate(x, cos, sin)
    torch.testing.assert_close(once.unflatten(-1, (4, 2)).norm(dim=-1), x.unflatten(-1, (4, 2)).norm(dim=-1))
    torch.testing.assert_close(rotate(rotate(once, cos, -sin), cos, sin), once)
    torch.testing.assert_close(once[:, 0], x[:, 0])  # the first token has angle 0


def test_rotation_turns_half_the_channels_with_each_coordinate():
    cos, _ = rotation_tables((2, 7), 8)
    cos = cos.view(2, 7, 8)
    torch.testing.assert_close(cos[:, :1, :4].expand(2, 7, 4), cos[:, :, :4])
    torch.testing.assert_close(cos[:1, :, 4:].expand(2, 7, 4), cos[:, :, 4:])
    assert cos[1, 0, 0] == pytest.approx(float(torch.tensor(7.0).cos()), abs=1e-6)  # row 1 of 2, stretched to 14
