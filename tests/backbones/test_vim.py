"""Vim: the common contract, published sizes, and what the golden cases do not reach."""

import pytest
import torch
import torch.nn.functional as F

from mmvssm.backbones import create_model, identify, load_weights
from mmvssm.backbones._loading import wrong_keys
from mmvssm.backbones.vim import RASTER, BiMamba, Vim
from mmvssm.kernels import selective_scan
from mmvssm.weights import CheckpointError, default_checkpoint

from .contract import BackboneContract, meta_model

MIXING = dict(d_state=4, d_conv=4, expand=2.0, dt_rank='auto')


class TestVim(BackboneContract):
    micro = 'test_vim'
    parameters = dict(
        vim_tiny=7_148_008,
        vim_tiny_rope=7_148_008,
        vim_tiny_stride8=7_250_344,
        vim_small=25_796_584,
        vim_small_stride8=26_001_256,
        vim_base=97_598_440,
    )
    strides = (16, 16, 16, 16)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def micro(**kwargs) -> Vim:
    return create_model('test_vim', **kwargs).eval()


def naive_mixer(mixer: BiMamba, x: torch.Tensor) -> torch.Tensor:
    """Both directions by the definition, the second on the flipped sequence."""
    out = 0
    for k in (0, 1):
        xz = mixer.in_proj(x)
        u, z = (xz.flip(1) if k else xz).chunk(2, dim=-1)
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
        out = out + (y.flip(1) if k else y)
    return mixer.out_proj(out / 2 if mixer.divide_out else out)


@pytest.mark.parametrize('length', [1, 2, 5, 33])
@pytest.mark.parametrize('divide_out', [True, False], ids=['halved', 'sum'])
def test_mixer_is_the_definition(length, divide_out):
    mixer = BiMamba(16, RASTER, False, **MIXING, divide_out=divide_out, layer_scale=None)
    for p in mixer.parameters():
        torch.nn.init.normal_(p, std=0.3)
    x = torch.randn(2, length, 16)
    torch.testing.assert_close(mixer(x, (1, length)), naive_mixer(mixer, x), rtol=1e-4, atol=1e-5)


def test_classifier_drops_the_rest_of_the_image_and_features_pad_it():
    x = torch.randn(1, 3, 75, 61)
    model = micro()
    with torch.no_grad():
        torch.testing.assert_close(model(x), model(x[:, :, :64, :48]))
        assert micro(features_only=True)(x)[0].shape == (1, 48, 5, 4)


def test_class_token_and_its_middle_row_are_left_out_of_feature_models():
    classifier, features = micro(), micro(features_only=True)
    report = load_weights(features, classifier.state_dict(), log=False)
    assert report.ok
    row = 16 // 2
    expected = torch.cat([classifier.pos_embed[:, :row], classifier.pos_embed[:, row + 1 :]], dim=1)
    torch.testing.assert_close(features.pos_embed, expected, rtol=0, atol=0)
    assert not hasattr(features, 'cls_token')


def test_kept_class_token_gives_the_classifiers_own_tokens():
    classifier, features = micro(), micro(features_only=True, keep_class_token=True)
    load_weights(features, classifier.state_dict(), log=False)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        _, maps = classifier.forward_intermediates(x)
        torch.testing.assert_close(features(x), maps)
        assert maps[0].shape == (1, 48, 4, 4)


@pytest.mark.parametrize('size', [(64, 64), (96, 64), 112], ids=str)
def test_positions_of_another_grid_are_resized_on_load_as_in_the_forward_pass(size):
    small, large = micro(), micro(img_size=size)
    load_weights(large, small.state_dict(), log=False)
    x = torch.randn(1, 3, *large.img_size)
    with torch.no_grad():
        torch.testing.assert_close(large(x), small(x), rtol=1e-4, atol=1e-5)


def test_weights_of_another_stride_fit_their_own_variant_alone():
    state = meta_model('vim_tiny').state_dict()
    finer = {**state, 'pos_embed': meta_model('vim_tiny', img_size=432).pos_embed}
    names = ('vim_tiny', 'vim_tiny_stride8', 'vim_small')
    assert [name for name in names if wrong_keys(name, state) == []] == ['vim_tiny']
    assert [name for name in names if wrong_keys(name, finer) == []] == ['vim_tiny_stride8']


@pytest.mark.parametrize(('place', 'positions'), [('middle', [4]), ('first', [0]), ('both', [0, 10])])
def test_classified_tokens(place, positions):
    model = micro(class_token=place, img_size=48, num_classes=3)
    with torch.no_grad():
        x = torch.randn(2, 3, 48, 48)
        tokens = model.forward_features(x)
        assert tokens.shape[1] == 9 + len(positions)
        torch.testing.assert_close(model(x), model.head(tokens[:, positions].mean(1)))


def test_rope_leaves_the_class_token_alone():
    model = micro(rope=True, rope_residual=True)
    (h, _, turned, _), _ = model.embed(torch.randn(1, 3, 64, 96))
    torch.testing.assert_close(turned[:, 12], h[:, 12])
    assert (turned[:, -1] - h[:, -1]).abs().max() > 1e-3


OLDER = dict(class_token='first', rope=True, rope_residual=True, divide_out=False)


@pytest.mark.parametrize('form', [{}, dict(features_only=True)], ids=['classifier', 'features'])
def test_a_file_with_rotation_tables_is_no_model_without(form):
    state = micro(**OLDER, **form).state_dict()
    assert {'rope.freqs_cos', 'rope.freqs_sin'} < set(state)
    with pytest.raises(CheckpointError, match=r'unexpected \(rope\.freqs_cos, rope\.freqs_sin\)') as error:
        load_weights(micro(**form), state)
    for option in ("class_token='first'", 'rope=True', 'rope_residual=True', 'divide_out=False'):
        assert option in str(error.value)
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(('where', 'row'), [('first', 0), ('middle', 8)])
def test_a_feature_model_leaves_out_the_row_of_the_class_token(where, row):
    classifier, features = micro(class_token=where), micro(class_token=where, features_only=True)
    load_weights(features, classifier.state_dict(), log=False)
    rows = [i for i in range(17) if i != row]
    assert torch.equal(features.pos_embed, classifier.pos_embed[:, rows])


def test_rotation_tables_may_be_missing_and_those_of_another_grid_are_recomputed():
    model, large = micro(**OLDER), micro(**OLDER, img_size=(96, 64))
    state = {k: v for k, v in model.state_dict().items() if 'rope' not in k}
    assert load_weights(micro(**OLDER), state, log=False).ok
    own = large.rope.freqs_sin.clone()
    assert load_weights(large, model.state_dict(), log=False).ok
    assert torch.equal(large.rope.freqs_sin, own)


@pytest.mark.parametrize('halved', [False, True], ids=['float', 'half'])
def test_rotation_tables_of_another_pretraining_are_refused(halved):
    state = micro(**OLDER, pretrained_grid=7).state_dict()
    state = {k: v.half() if halved else v for k, v in state.items()}
    assert load_weights(micro(**OLDER, pretrained_grid=7), state, log=False).ok
    with pytest.raises(CheckpointError, match='pretrained_grid=14'):
        load_weights(micro(**OLDER), state)


def test_the_first_release_is_a_variant_of_its_own():
    state = meta_model('vim_tiny_rope').state_dict()
    assert identify(state) == ['vim_tiny_rope']
    with pytest.raises(CheckpointError, match='does not fit vim_tiny: it looks like vim_tiny_rope'):
        load_weights(meta_model('vim_tiny'), state)
    published = default_checkpoint('vim_tiny_rope')
    assert (published.file, published.metrics) == ('vim_tiny_73p1.pth', {'top1': 73.1, 'top5': 91.1})


@pytest.mark.parametrize('last', ['mixer', 'add', 'norm'])
def test_last_map_of_the_stream(last):
    model = micro(features_only=True, features='residual', last_feature=last)
    assert hasattr(model, 'norm_f') == (last == 'norm')
    state, grid = model.embed(torch.randn(1, 3, 64, 64))
    for i in range(model.depth):
        state = model.run_block(i, state, grid)
    h, stream = state[:2]
    expected = dict(mixer=lambda: h, add=lambda: stream + h, norm=lambda: model.norm_f(stream + h))[last]()
    torch.testing.assert_close(model.tap(3, state, grid), expected)


def test_stream_maps_are_what_the_next_block_takes():
    model = micro(features_only=True, features='residual', rope=True, rope_residual=True)
    state, grid = model.embed(torch.randn(1, 3, 64, 64))
    state = model.run_block(0, state, grid)
    torch.testing.assert_close(model.tap(0, state, grid), state[2])


def test_stride8_maps():
    model = micro(stride=8, features_only=True)
    with torch.no_grad():
        assert model(torch.randn(1, 3, 61, 40))[0].shape == (1, 48, 7, 4)
    assert model.feature_info.reduction() == [8] * 4


def test_layer_scale_is_a_gain_on_the_output():
    mixer = BiMamba(16, RASTER, False, **MIXING, divide_out=True, layer_scale=0.5)
    x = torch.randn(1, 5, 16)
    torch.testing.assert_close(mixer(x, (1, 5)), 0.5 * naive_mixer(mixer, x), rtol=1e-4, atol=1e-6)


def test_start_of_step_sizes():
    assert not micro(dt_init='published').layers[0].mixer.dt_proj_b.bias.any()
    for name in ('dt_proj', 'dt_proj_b'):
        dt = F.softplus(getattr(micro().layers[0].mixer, name).bias)
        assert (dt > 9e-4).all()
        assert (dt < 0.11).all()


def test_layer_norms_and_no_positions():
    model = micro(rms_norm=False, pos_embed=False)
    assert 'norm_f.bias' in model.state_dict()
    assert 'pos_embed' not in model.state_dict()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 80, 64)).isfinite().all()


@pytest.mark.parametrize(
    ('kwargs', 'field'),
    [
        (dict(features='stream'), 'features'),
        (dict(last_feature='none'), 'last_feature'),
        (dict(class_token='last'), 'class_token'),
        (dict(drop_path_rate=1.0), 'drop_path_rate'),
        (dict(rope=True, embed_dim=50), 'embed_dim'),
        (dict(out_norms=True), 'out_norms'),
    ],
    ids=str,
)
def test_wrong_arguments_are_named(kwargs, field):
    with pytest.raises(ValueError, match=field):
        create_model('test_vim', **kwargs)
