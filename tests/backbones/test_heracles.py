"""Heracles: what its golden cases do not reach."""

import logging

import pytest
import torch

from mmvssm import weights
from mmvssm.backbones import create_model, identify, load_weights, match_weights
from mmvssm.backbones.heracles import Attention, Heracles, SpectralMixer
from mmvssm.kernels import resize_spectral_weight, spectral_filter
from mmvssm.weights import CheckpointError

from .contract import BackboneContract, meta_model

MICRO = 'test_heracles'


class TestHeracles(BackboneContract):
    micro = MICRO
    parameters = dict(heracles_small=21_678_512, heracles_base=32_504_464, heracles_large=53_683_056)
    gflops = dict(heracles_small=4.07, heracles_base=6.62, heracles_large=13.21)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def parameters(name: str, **kwargs) -> int:
    return sum(p.numel() for p in meta_model(name, **kwargs).parameters())


@pytest.mark.parametrize(
    ('name', 'without_labels', 'stages'),
    [
        ('heracles_small', 21_229_512, 18_366_240),
        ('heracles_base', 31_991_464, 28_326_080),
        ('heracles_large', 53_170_056, 49_504_672),
    ],
)
def test_parts_have_the_measured_sizes(name, without_labels, stages):
    assert parameters(name, token_label=False) == without_labels
    assert parameters(name, features_only=True) == stages


def test_huge_is_larger_than_large_and_labelled():
    from mmvssm.backbones import heracles

    assert parameters('heracles_huge') > 2 * 53_683_056
    assert 'own reading' in heracles.heracles_huge.__doc__


def test_mixer_convolves_one_half_filters_the_other_and_interleaves():
    mixer = SpectralMixer(6, (5, 7), 'dct', 'linear').double()
    x = torch.randn(2, 5, 7, 6, dtype=torch.float64)
    out = mixer(x)
    local = mixer.local_ssm.conv(x[..., :3].permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(out[..., 0::2], local)
    torch.testing.assert_close(out[..., 1::2], spectral_filter(x[..., 3:], mixer.weight))


@pytest.mark.parametrize('transform', ['dct', 'hartley'])
@pytest.mark.parametrize('resize', ['linear', 'trig', 'index'])
def test_mixer_resizes_its_weights_on_the_fly(transform, resize):
    mixer = SpectralMixer(4, (6, 6), transform, resize)
    x = torch.randn(1, 9, 4, 4)
    weight = resize_spectral_weight(mixer.weight, (9, 4), transform, resize)
    expected = spectral_filter(x[..., 2:], weight, transform=transform)
    torch.testing.assert_close(mixer(x)[..., 1::2], expected)


def test_transforms_and_resizings_are_different_functions():
    x = torch.randn(1, 3, 96, 64)
    outputs = []
    for kwargs in ({}, dict(transform='hartley'), dict(spectral_resize='trig'), dict(spectral_resize='index')):
        torch.manual_seed(0)
        model = create_model(MICRO, features_only=True, **kwargs).eval()
        for name, p in model.named_parameters():
            if name.endswith('attn.weight'):
                torch.nn.init.normal_(p)
        outputs.append(model(x)[0])
    for i, a in enumerate(outputs):
        for b in outputs[:i]:
            assert (a - b).abs().max() > 1e-3


def test_attention_is_softmax_of_scaled_products():
    attention = Attention(12, 3).double()
    query, x = torch.randn(2, 1, 12, dtype=torch.float64), torch.randn(2, 7, 12, dtype=torch.float64)
    q, kv = attention.q(query), attention.kv(x)
    heads = []
    for h in range(3):
        own = slice(4 * h, 4 * h + 4)
        scores = q[..., own] @ kv[..., :12][..., own].transpose(1, 2) / 2
        heads.append(scores.softmax(-1) @ kv[..., 12:][..., own])
    torch.testing.assert_close(attention(query, x), attention.proj(torch.cat(heads, dim=-1)))


def test_last_map_is_normed_by_norm4():
    normed = create_model(MICRO, features_only=True).eval()
    raw = create_model(MICRO, features_only=True, out_norms=False).eval()
    report = load_weights(raw, create_model(MICRO).state_dict(), log=False)
    assert 'norm4.weight' in report.dropped
    load_weights(normed, {**raw.state_dict(), 'norm4.weight': torch.ones(40), 'norm4.bias': torch.zeros(40)}, log=False)
    x = torch.randn(1, 3, 64, 64)
    *first, last = raw(x)
    *expected, normed_last = normed(x)
    torch.testing.assert_close(first, expected)
    torch.testing.assert_close(
        normed_last, torch.nn.functional.layer_norm(last.movedim(1, 3), (40,), eps=1e-6).movedim(3, 1)
    )


def test_classifier_file_fills_a_feature_model_and_drops_only_the_heads():
    report = load_weights(create_model(MICRO, features_only=True), create_model(MICRO).state_dict(), log=False)
    assert not report.expected_missing
    assert {key.split('.')[0] for key in report.dropped} == {'post_network', 'head', 'aux_head'}


def test_logits_add_half_of_the_largest_token_logit():
    model = create_model(MICRO, num_classes=5).eval()
    x = torch.randn(2, 3, 64, 96)
    token, tokens = model.forward_token_labels(x)
    assert token.shape == (2, 5)
    assert tokens.shape == (2, 6, 5)
    torch.testing.assert_close(model(x), token + 0.5 * tokens.amax(1))


def test_without_token_labels_the_logits_are_the_class_tokens():
    labelled, plain = create_model(MICRO), create_model(MICRO, token_label=False).eval()
    report = load_weights(plain, labelled.state_dict(), log=False)
    assert sorted(report.dropped) == ['aux_head.bias', 'aux_head.weight']
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(plain(x), labelled.eval().forward_token_labels(x)[0])
    with pytest.raises(ValueError, match='token_label'):
        plain.forward_token_labels(x)


def test_a_file_without_the_second_head_does_not_fit_a_model_with_it():
    report, _ = match_weights(create_model(MICRO), create_model(MICRO, token_label=False).state_dict())
    assert sorted(report.missing) == ['aux_head.bias', 'aux_head.weight']
    assert not report.ok


def test_other_classes_renew_both_heads():
    report = load_weights(create_model(MICRO, num_classes=5), create_model(MICRO).state_dict(), log=False)
    assert sorted(report.expected_missing) == ['aux_head.bias', 'aux_head.weight', 'head.bias', 'head.weight']
    load_weights(create_model(MICRO, num_classes=0), create_model(MICRO).state_dict(), log=False)


def test_both_heads_that_stay_random_are_named(caplog):
    state = create_model(MICRO, num_classes=10, token_label=True).state_dict()
    load_weights(create_model(MICRO, num_classes=5, token_label=True), state)
    (warning,) = [r.getMessage() for r in caplog.records if (r.name, r.levelno) == ('mmvssm', logging.WARNING)]
    assert 'aux_head.weight' in warning


@pytest.mark.parametrize(
    ('model', 'state'), [('heracles_base', 'weights never released'), ('heracles_huge', 'architecture only')]
)
def test_no_weights_were_released(model, state):
    assert weights.state(model) == state
    assert weights.default_checkpoint(model) is None


def test_evaluation_crop():
    assert weights.evaluation('heracles_base')['crop_pct'] == 0.96


def test_names_of_the_predecessor_load():
    state = {k.replace('.local_ssm.conv.', '.conv.'): v for k, v in create_model(MICRO).state_dict().items()}
    assert 'block1.0.attn.conv.weight' in state
    assert not load_weights(create_model(MICRO), state, log=False).expected_missing


@pytest.mark.parametrize(
    'wrap', [lambda s: {'state_dict': s}, lambda s: {'model': {'state_dict': s}}], ids=['file', 'nested']
)
def test_wrappings_of_the_trainer_load(wrap):
    state = create_model(MICRO).state_dict()
    assert len(load_weights(create_model(MICRO), wrap(state), log=False).loaded) == len(state)


def test_spectral_weights_of_another_native_size_are_resized_once():
    source = create_model(MICRO)
    model = create_model(MICRO, spectral_sizes=((10, 12), (5, 6)))
    load_weights(model, source.state_dict(), log=False)
    torch.testing.assert_close(
        model.block1[0].attn.weight, resize_spectral_weight(source.block1[0].attn.weight, (10, 12))
    )


def test_the_released_file_as_it_stands_is_refused():
    state = create_model(MICRO).state_dict()
    for key in [k for k in state if '.local_ssm.conv.' in k]:
        state[key] = state[key][: len(state[key]) // 2]
    with pytest.raises(CheckpointError, match='half of what works'):
        load_weights(create_model(MICRO), state, log=False)


def test_a_file_is_recognised():
    state = meta_model('heracles_base').state_dict()
    assert identify(state) == ['heracles_base']


def test_resized_spectral_weights_get_gradients():
    model = create_model(MICRO, transform='hartley').train()
    model(torch.randn(2, 3, 80, 48)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())


def test_drop_path_grows_over_all_blocks():
    rates = [m.drop_prob for m in create_model(MICRO, drop_path_rate=0.4).modules() if type(m).__name__ == 'DropPath']
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_batch_norm_may_be_held_still():
    model = create_model(MICRO, features_only=True).train()
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 3
    for norm in norms:
        norm.eval()
    model(torch.randn(2, 3, 64, 64))[0].sum().backward()
    assert all(norm.running_mean.abs().sum() == 0 for norm in norms)


def test_spectral_weights_are_not_decayed():
    assert create_model(MICRO).no_weight_decay() == {f'block{b}.attn.weight' for b in ('1.0', '1.1', '2.0')}


def test_layer_decay_groups_are_ordered_by_depth():
    from timm.models import group_parameters

    model = create_model(MICRO)
    groups = group_parameters(model, model.group_matcher(), reverse=True)
    chain = [
        'patch_embed1.conv.0.weight',
        'block1.0.attn.weight',
        'block1.1.attn.weight',
        'patch_embed2.proj.weight',
        'block2.0.norm1.weight',
        'block4.0.attn.q.weight',
        'post_network.0.attn.q.weight',
    ]
    depths = [groups[name] for name in chain]
    assert depths == sorted(set(depths))
    assert groups['norm1.weight'] == groups['block1.1.attn.weight']
    assert groups['norm4.weight'] == groups['block4.0.attn.q.weight']


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(transform='fourier'), 'transform'),
        (dict(spectral_resize='cubic'), 'spectral_resize'),
        (dict(embed_dims=(16, 24)), 'embed_dims'),
        (dict(spectral_sizes=((16, 16),)), 'spectral_sizes'),
        (dict(num_heads=(1, 1, 3, 2)), 'num_heads'),
        (dict(output_stride='8'), "output_stride='8' is not supported; allowed: None, 1 or more"),
    ],
    ids=lambda v: v if isinstance(v, str) else '',
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        create_model(MICRO, **kwargs)


def test_fewer_stages_work():
    model = Heracles(
        depths=(1, 1, 1),
        embed_dims=(8, 16, 16),
        num_heads=(1, 1, 2),
        mlp_ratios=(2, 2, 2),
        stem_hidden_dim=8,
        num_classes=3,
    )
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 3)
