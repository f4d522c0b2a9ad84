"""LocalVim: the common contract, published sizes, and what the golden cases do not reach."""

import pytest
import torch
import torch.nn.functional as F

from mmvssm import scans
from mmvssm.backbones import create_model, load_weights
from mmvssm.backbones._mamba_stream import with_class_token
from mmvssm.backbones.localvim import SEARCHED, LocalVim, MultiMamba
from mmvssm.kernels import selective_scan
from mmvssm.weights import CheckpointError

from .contract import BackboneContract, meta_model


class TestLocalVim(BackboneContract):
    micro = 'test_localvim'
    parameters = dict(
        localvim_tiny=7_994_152,
        localvim_tiny_midcls=7_994_536,
        localvim_tiny_unsearched=7_994_152,
        localvim_small=27_783_784,
        localvim_small_unsearched=27_783_784,
        localvim_tiny_search=5_473_288,
    )
    strides = (16, 16, 16, 16)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ('name', 'kwargs', 'millions'),
    [
        ('localvim_tiny', dict(img_size=512, out_indices=(4, 9, 14, 19)), 7.965),
        ('localvim_small', dict(img_size=512, out_indices=(4, 9, 14, 19)), 27.727),
        ('localvim_tiny', dict(img_size=1024, out_indices=(19,)), 8.554),
        ('localvim_small', dict(img_size=1024, out_indices=(19,)), 28.904),
    ],
    ids=str,
)
def test_dense_models_have_the_published_size(name, kwargs, millions):
    model = meta_model(name, features_only=True, out_norms=True, rms_norm=False, **kwargs)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=5e-4)


@pytest.mark.parametrize(
    ('name', 'kwargs', 'entries'),
    [
        ('localvim_tiny', {}, 748),
        ('localvim_tiny_midcls', {}, 747),
        ('localvim_tiny', dict(embed_dim=128, directions=None), 1328),
    ],
)
def test_state_dict_has_the_published_number_of_tensors(name, kwargs, entries):
    assert len(meta_model(name, **kwargs).state_dict()) == entries


def test_supernet_has_the_published_size():
    model = meta_model('localvim_tiny', embed_dim=128, directions=None)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(5.473, abs=5e-4)


def test_released_weights_scan_as_published():
    assert [' '.join(names) for names in SEARCHED][:3] == [
        'h v_flip w7 w7_flip',
        'h_flip w2_flip w7 w7_flip',
        'h h_flip v w7',
    ]
    assert len(SEARCHED) == 20


def naive_mixer(mixer: MultiMamba, x: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """One branch at a time and one order at a time, by the definition; no class token, no search."""
    total = 0
    xz = mixer.in_proj(x)
    for k, name in enumerate(mixer.directions):
        index = scans.order_function(name)(*grid).long()
        sequence = torch.where((index >= 0)[:, None], xz[:, index.clamp(min=0)], 0.0)
        u, z = sequence.chunk(2, dim=-1)
        conv, dt_proj = mixer.each('conv')[k], mixer.each('dt_proj')[k]
        u = F.silu(F.conv1d(F.pad(u.mT, (3, 0)), conv.weight, conv.bias, groups=conv.groups).mT)
        dt, B, C = mixer.each('x_proj')[k](u).split([mixer.dt_rank, mixer.d_state, mixer.d_state], dim=-1)
        y = selective_scan(
            u,
            F.linear(dt, dt_proj.weight)[:, :, None],
            -mixer.each('A_log')[k].exp()[None],
            B[:, :, None],
            C[:, :, None],
            mixer.each('D')[k][None],
            dt_proj.bias[None],
            backend='reference',
        )
        y = y * F.silu(z)
        out = torch.zeros(x.shape[0], grid[0] * grid[1], y.shape[-1])
        out[:, index[index >= 0]] = y[:, index >= 0]
        total = total + out * mixer.attn(out)
    return mixer.out_proj(total)


@pytest.mark.parametrize('grid', [(7, 7), (3, 5), (1, 9), (9, 1), (8, 15)], ids=str)
def test_mixer_is_the_definition_whatever_the_grid(grid):
    mixer = MultiMamba(16, ('v_flip', 'w2', 'w7_flip', 'h'), False, d_state=4, d_conv=4, expand=2.0, dt_rank='auto')
    for projection in mixer.each('dt_proj'):
        torch.nn.init.normal_(projection.weight)
    x = torch.randn(2, grid[0] * grid[1], 16)
    torch.testing.assert_close(mixer(x, grid), naive_mixer(mixer, x, grid), rtol=1e-4, atol=1e-6)


def test_class_token_is_read_at_its_own_step():
    orders = with_class_token(scans.orders(('v', 'w2_flip'), 3, 3), 4)
    assert orders.index[0].tolist()[:10] == [0, 3, 7, 1, 4, 5, 8, 2, 6, 9]
    assert orders.index[1, 4] == 4
    assert orders.num_tokens == 10
    assert orders.lengths.tolist() == [10, 17]
    assert sorted(i for i in orders.index[1].tolist() if i >= 0) == list(range(10))


def test_outputs_that_lie_step_by_step_are_written_back_alike():
    orders = scans.orders(('v', 'w2_flip', 'w7'), 3, 5)
    y = torch.randn(2, 3, orders.index.shape[1], 4)
    written = scans.write_steps(y.transpose(1, 2), scans.routes(orders))
    torch.testing.assert_close(written, scans.write(y, orders).transpose(1, 2))


def micro(**kwargs) -> LocalVim:
    return create_model('test_localvim', **kwargs).eval()


def test_middle_class_token_works_at_any_size_and_in_feature_models():
    classifier = micro(class_token='middle', rope=False, num_classes=5)
    features = micro(class_token='middle', rope=False, features_only=True)
    load_weights(features, classifier.state_dict(), log=False)
    with torch.no_grad():
        assert classifier(torch.randn(1, 3, 49, 81)).shape == (1, 5)
        assert [tuple(m.shape) for m in features(torch.randn(1, 3, 49, 81))] == [(1, 32, 4, 6)] * 4


def test_position_row_of_the_class_token_is_the_middle_one():
    small, large = micro(class_token='middle', rope=False), micro(class_token='middle', rope=False, img_size=96)
    load_weights(large, small.state_dict(), log=False)
    row = 4 * 4 // 2
    torch.testing.assert_close(large.pos_embed[:, 18], small.pos_embed[:, row])
    grid = torch.cat([small.pos_embed[:, :row], small.pos_embed[:, row + 1 :]], dim=1).view(1, 4, 4, -1)
    expected = F.interpolate(grid.permute(0, 3, 1, 2), (6, 6), mode='bicubic').permute(0, 2, 3, 1).flatten(1, 2)
    torch.testing.assert_close(torch.cat([large.pos_embed[:, :18], large.pos_embed[:, 19:]], dim=1), expected)


def test_tables_of_another_grid_are_resized_on_load():
    small, large = micro(), micro(img_size=(96, 64))
    small.rope.freqs_cos.mul_(2)
    load_weights(large, small.state_dict(), log=False)
    assert large.rope.freqs_cos.shape == (24, 32)
    assert large.rope.freqs_cos.max() > 1.5
    with torch.no_grad():
        x = torch.randn(1, 3, 96, 64)
        torch.testing.assert_close(large(x), small(x), rtol=1e-4, atol=1e-5)


def test_files_without_rotation_tables_load():
    model = micro()
    state = {k: v for k, v in micro().state_dict().items() if not k.startswith('rope.')}
    assert load_weights(model, state, log=False).ok


def test_rotation_tables_of_a_wide_image_are_made_per_axis():
    model = micro(img_size=(64, 128))
    assert model.rope.freqs_cos.shape == (32, 32)
    with torch.no_grad():
        assert model(torch.randn(1, 3, 64, 128)).isfinite().all()


def test_raw_and_residual_maps_differ_by_the_stream():
    raw, stream = micro(features_only=True), micro(features_only=True, features='residual')
    stream.load_state_dict(raw.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        embedded = raw.embed(x)[0][2].unflatten(1, (4, 4)).permute(0, 3, 1, 2)
        torch.testing.assert_close(stream(x)[0], raw(x)[0] + embedded)


def test_layer_norm_blocks_are_named_as_published():
    assert 'layers.0.norm.bias' in micro(rms_norm=False).state_dict()
    assert 'layers.0.norm.bias' not in micro().state_dict()


def test_pooling_choices():
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        for pool, shape in dict(avg=(2, 1000), last=(2, 1000), max=(2, 1000)).items():
            assert micro(global_pool=pool)(x).shape == shape
        assert micro(global_pool='')(x).shape == (2, 16, 1000)


def test_mamba_start_of_step_sizes():
    published, mamba = micro(), micro(dt_init='mamba')
    assert not published.layers[0].mixer.dt_proj_0.bias.any()
    dt = F.softplus(mamba.layers[0].mixer.dt_proj_3.bias)
    assert (dt > 9e-4).all()
    assert (dt < 0.11).all()


@pytest.mark.parametrize(
    ('kwargs', 'field'),
    [
        (dict(directions=[['h', 'w0']] * 4), 'directions'),
        (dict(depth=5), 'directions'),
        (dict(class_token='first'), 'class_token'),
        (dict(features='stream'), 'features'),
        (dict(global_pool='mean'), 'global_pool'),
        (dict(img_size=(64, 64, 3)), 'img_size'),
        (dict(dt_init='flat'), 'dt_init'),
        (dict(embed_dim=34), 'embed_dim'),
    ],
    ids=str,
)
def test_wrong_arguments_are_named(kwargs, field):
    with pytest.raises(ValueError, match=field):
        create_model('test_localvim', **kwargs)


def test_drop_path_acts_in_training_alone():
    model = micro(drop_path_rate=0.9)
    x = torch.randn(8, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(x), model(x))
        model.train()
        assert (model(x) - model(x)).abs().max() > 0
    assert [block.drop_path.drop_prob for block in model.layers] == pytest.approx([0, 0.3, 0.6, 0.9])


@pytest.mark.parametrize(
    ('file', 'option'), [(dict(rope=True), 'rope=True'), (dict(class_token='middle'), "class_token='middle'")], ids=str
)
def test_a_file_of_another_option_is_refused_with_its_name(file, option):
    state = create_model('test_localvim', **{'rope': False, **file}).state_dict()
    with pytest.raises(CheckpointError, match=f'such a file wants {option}$'):
        load_weights(create_model('test_localvim', rope=False), state)
