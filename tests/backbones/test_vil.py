"""Vision-LSTM: the contract, and what is its own."""

import pytest
import torch
import torch.nn.functional as F

from mmvssm.backbones import create_model, list_models, load_weights
from mmvssm.backbones.vil import BlockDiagonal, ResidualGainNorm, VisionLSTM, published_taps
from mmvssm.weights import CheckpointError
from tests.backbones.contract import BackboneContract, meta_model


class TestViL(BackboneContract):
    micro = 'test_vil'
    strides = (16, 16, 16, 16)
    parameters = {
        'vil_tiny': 6_088_360,
        'vil_tinyplus': 7_277_840,
        'vil_small': 22_792_360,
        'vil_smallplus': 24_628_664,
        'vil_base': 88_050_856,
        'vil2_tiny': 6_391_528,
        'vil2_small': 23_398_696,
        'vil2_base': 89_263_528,
    }
    gflops = {'vil2_tiny': 1.51, 'vil2_small': 5.09, 'vil2_base': 18.51}


FIRST = dict(
    conv_kind='causal1d',
    conv_kernel_size=4,
    proj_bias=False,
    norm_bias=False,
    norm_eps=1e-5,
    head_norm_eps=1e-6,
    global_pool='bilateral_avg',
)


def micro(**kwargs) -> VisionLSTM:
    torch.manual_seed(0)
    return create_model('test_vil', **{'num_classes': 7, **kwargs}).eval()


def shaken(model: VisionLSTM) -> VisionLSTM:
    """The model with every parameter moved, so that no gain is one and no bias zero."""
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model


def images(batch: int = 2, size: tuple[int, int] = (64, 80)) -> torch.Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1))


def hub_layout(state: dict, second: bool) -> dict:
    """The hub package's names, written down from its documentation and apart from the loader."""
    out = {}
    for key, value in state.items():
        key = key.replace('xlstm_norm.', 'norm.').replace('xlstm.post_blocks_norm.', 'POST.')
        if key.startswith('xlstm.blocks.'):
            index, rest = key.removeprefix('xlstm.blocks.').split('.', 1)
            rest = rest.replace('xlstm.', 'layer.', 1)
            if second:
                direction = 'rowwise_from_bot_right' if int(index) % 2 else 'rowwise_from_top_left'
                index, rest = f'{int(index) // 2}.{direction}', rest.replace('conv1d.', 'conv.')
            key = f'blocks.{index}.{rest}'
        post, head = ('norm.', 'legacy_norm.') if second else ('legacy_norm.', 'norm.')
        key = key.replace('head.0.', head).replace('head.1.', 'head.').replace('POST.', post)
        out[key] = value
    return out


@pytest.mark.parametrize('generation', [1, 2])
@pytest.mark.parametrize('layout', ['released', 'hub', 'segmentation'])
def test_official_layouts_load(generation, layout):
    kwargs = FIRST if generation == 1 else {}
    model, other = shaken(micro(**kwargs)), micro(**kwargs)
    state = dict(model.state_dict())
    if layout == 'released':
        state = {'state_dict': {**state, 'xlstm.blocks.0.xlstm.mlstm_cell.causal_mask': torch.ones(4, 4)}, 'ckpt': 'x'}
    elif layout == 'hub':
        state = hub_layout(state, generation == 2)
    else:
        state = {f'encoder.{k}': v for k, v in state.items()} | {'decoder.weight': torch.zeros(3)}
    load_weights(other, state, log=False)
    with torch.no_grad():
        torch.testing.assert_close(other(images()), model(images()), rtol=0, atol=0)


def test_hub_layout_of_a_causal_convolution_in_the_second_generation():
    model, other = shaken(micro(conv_kind='causal1d')), micro(conv_kind='causal1d')
    state = hub_layout(model.state_dict(), second=True)
    assert 'blocks.1.rowwise_from_bot_right.layer.conv.conv.weight' in state
    load_weights(other, state, log=False)
    assert torch.equal(other.xlstm.blocks[3].xlstm.conv1d.conv.weight, model.xlstm.blocks[3].xlstm.conv1d.conv.weight)


def test_one_generation_refuses_the_other(monkeypatch):
    monkeypatch.setattr('mmvssm.backbones._loading.identify', lambda state: [])  # builds all variants, not needed here
    with pytest.raises(CheckpointError):
        load_weights(micro(), micro(**FIRST).state_dict(), log=False)


def test_position_embedding_is_resized_at_load_without_antialias():
    model, other = micro(img_size=(96, 64)), micro(img_size=(32, 80))
    load_weights(other, model.state_dict(), log=False)
    nchw = model.pos_embed.embed.permute(0, 3, 1, 2)
    expected = F.interpolate(nchw, (2, 5), mode='bicubic', align_corners=False).permute(0, 2, 3, 1)
    torch.testing.assert_close(other.pos_embed.embed, expected)


def test_stride_keeps_the_embedding_of_whole_patches():
    model = create_model('vil_tinyplus_stride8', depth=1, img_size=224)
    assert model.pos_embed.embed.shape == (1, 14, 14, 192)
    tokens, grid = model.embed(torch.randn(1, 3, 224, 224))
    assert grid == (27, 27)
    assert tokens.shape == (1, 729, 192)


def test_padding_is_zeros_at_the_bottom_and_right():
    model, x = micro(features_only=True), images(1, (50, 61))
    with torch.no_grad():
        for a, b in zip(model(x), model(F.pad(x, (0, 3, 0, 14)))):
            assert a.shape[-2:] == (4, 4)
            torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize('kwargs', [FIRST, {}], ids=['first', 'second'])
def test_blocks_alternate_directions(kwargs):
    """A forward block's output at a token knows nothing of later tokens, but for the 3 x 3 convolution's neighbours."""
    model, grid = shaken(micro(**kwargs)), (6, 4)
    x = torch.randn(1, 24, 32, requires_grad=True)
    for i, block in enumerate(model.xlstm.blocks):
        token = 11
        (grad,) = torch.autograd.grad(block(x, grid)[0, token].sum(), x)
        seen = grad[0].abs().sum(-1) > 0
        reach = 5 if not kwargs else 0  # a row and a column
        hidden = seen[: token - reach] if i % 2 else seen[token + reach + 1 :]
        assert not hidden.any()
        assert seen[token + 1 :].all() if i % 2 else seen[:token].all()


def test_backward_block_is_a_forward_block_on_the_reversed_sequence():
    for kwargs in (FIRST, {}):
        model = shaken(micro(**kwargs))
        forward, backward = model.xlstm.blocks[0], model.xlstm.blocks[1]
        backward.load_state_dict(forward.state_dict())
        x = torch.randn(2, 15, 32)
        with torch.no_grad():
            torch.testing.assert_close(backward(x, (3, 5)), forward(x.flip(1), (3, 5)).flip(1))


def test_block_norms_gain_is_one_plus_weight_and_the_heads_is_not():
    x = torch.randn(5, 8)
    torch.testing.assert_close(ResidualGainNorm(8, bias=True)(x), F.layer_norm(x, (8,)))
    model = micro()
    assert float(model.xlstm.post_blocks_norm.weight.detach().abs().max()) == 0
    assert float(model.head[0].weight.detach().min()) == 1


def test_grouped_norm_is_group_norm():
    norm = ResidualGainNorm(12, bias=True, groups=3)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(2, 5, 12)
    expected = F.group_norm(x.flatten(0, 1), 3, 1 + norm.weight, norm.bias, norm.eps).view_as(x)
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize('blocks', [1, 6, 8, 96])
def test_block_diagonal_projection(blocks):
    proj = BlockDiagonal(4 * blocks, 4, bias=True)
    torch.nn.init.normal_(proj.weight)
    torch.nn.init.normal_(proj.bias)
    x = torch.randn(2, 5, 4 * blocks)
    torch.testing.assert_close(proj(x), F.linear(x, torch.block_diag(*proj.weight), proj.bias))


@pytest.mark.parametrize(
    ('pool', 'shape'), [('bilateral_flatten', (2, 7)), ('bilateral_avg', (2, 7)), ('', (2, 20, 7))]
)
def test_poolings(pool, shape):
    model = micro(global_pool=pool)
    with torch.no_grad():
        assert model(images()).shape == shape


def test_pooling_may_change_with_the_classifier():
    model = micro()
    model.reset_classifier(3, global_pool='bilateral_avg')
    with torch.no_grad():
        assert model(images()).shape == (2, 3)
    assert model.head[0].weight.shape == (32,)


def test_published_taps():
    assert [published_taps(n) for n in (24, 26, 29)] == [(7, 11, 15, 23), (8, 12, 16, 25), (9, 13, 19, 28)]


def test_normed_features_are_the_last_map_twice_normed():
    classifier, model = shaken(micro()), micro(features_only=True, features='normed')
    load_weights(model, classifier.state_dict(), log=False)
    with torch.no_grad():
        (found,) = model(images())
        expected = F.layer_norm(classifier.forward_features(images()), (32,))
    torch.testing.assert_close(found, expected.mT.unflatten(2, (4, 5)))


def test_drop_path_is_uniform_or_grows():
    def rates(**kwargs):
        return [block.drop_path.drop_prob for block in micro(drop_path_rate=0.3, **kwargs).xlstm.blocks]

    assert rates() == [0.3] * 4
    assert rates(drop_path_decay=True) == pytest.approx([0, 0.1, 0.2, 0.3])


def test_initialisation():
    model, fixed = (
        create_model('vil2_tiny', depth=4, img_size=64, init_weights=w) for w in ('original', 'original-fixed')
    )
    layer = model.xlstm.blocks[1].xlstm
    assert layer.mlstm_cell.fgate.bias.tolist() == [3, 4, 5, 6]
    assert float(layer.mlstm_cell.igate.weight.detach().abs().max()) == 0
    small = (2 / (5 * 192)) ** 0.5
    assert layer.proj_up.weight.std().item() == pytest.approx(small, rel=0.02)
    assert layer.q_proj.weight.std().item() == pytest.approx(small, rel=0.1)
    assert layer.proj_down.weight.std().item() == pytest.approx(2 / 192**0.5, rel=0.02)
    assert fixed.xlstm.blocks[1].xlstm.proj_down.weight.std().item() == pytest.approx(0.5 / 192**0.5, rel=0.02)
    assert model.head[1].weight.std().item() == pytest.approx(2e-5, rel=0.05)


def test_layer_groups_and_freezing_count_pairs():
    from timm.models._manipulate import group_parameters

    model = micro()
    groups = group_parameters(model, model.group_matcher(), reverse=True)
    found = [groups[f'xlstm.blocks.{i}.xlstm.proj_up.weight'] for i in range(4)]
    assert found == [1, 1, 2, 2]
    model.freeze(1)
    frozen = [not block.xlstm.proj_up.weight.requires_grad for block in model.xlstm.blocks]
    assert frozen == [True, True, False, False]
    assert 'pos_embed.embed' in model.no_weight_decay()


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_training_under_autocast_reaches_every_parameter(dtype):
    model = micro().train()
    with torch.autocast('cpu', dtype=dtype):
        loss = model(images()).float().square().sum()
    loss.backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('conv_kind', '3d'),
        ('conv_kernel_size', 4),
        ('global_pool', 'avg'),
        ('features', 'raw'),
        ('init_weights', 'zeros'),
        ('num_heads', 5),
        ('qkv_block_size', 5),
        ('drop_path_rate', 1.5),
        ('img_size', (64, 64, 64)),
    ],
)
def test_bad_arguments_are_named(field, value):
    with pytest.raises(ValueError, match=field):
        micro(**{field: value})


def test_every_published_variant_is_there():
    sizes = [
        f'vil_{size}{form}' for size in ('tiny', 'tinyplus', 'small', 'smallplus', 'base') for form in ('', '_stride8')
    ]
    assert {*sizes, 'vil2_tiny', 'vil2_small', 'vil2_base'} <= set(list_models('vil*'))
    assert len(meta_model('vil_tinyplus').xlstm.blocks) == 29


def test_a_file_that_records_another_stride_is_refused():
    content = {'state_dict': micro().state_dict(), 'ctor_kwargs': {'dim': 8, 'patch_size': 16, 'stride': 8}}
    with pytest.raises(ValueError, match=r'of a model with stride=8; test_vil has stride=16(.|\n)*Set stride=8'):
        load_weights(micro(), content)
    assert load_weights(micro(stride=8), content, log=False).ok
    assert load_weights(micro(), content['state_dict'], log=False).ok
