"""EfficientVMamba: what its golden cases do not reach."""

import pytest
import torch
import torch.nn.functional as F

from mmvssm import scans
from mmvssm.backbones import create_model, load_weights
from mmvssm.backbones.efficientvmamba import AtrousSS2D, EfficientVMamba, lattice_linear
from mmvssm.kernels import selective_scan

from .contract import BackboneContract, meta_model

MICRO = 'test_efficientvmamba'
ODD_MAPS = [(4, 6), (5, 6), (4, 7), (5, 7), (1, 5), (5, 1), (1, 1)]


class TestEfficientVMamba(BackboneContract):
    micro = MICRO
    least = 4
    parameters = dict(efficientvmamba_tiny=6_493_660, efficientvmamba_small=11_273_688, efficientvmamba_base=33_717_136)
    gflops = dict(efficientvmamba_tiny=0.806, efficientvmamba_small=1.343, efficientvmamba_base=3.997)
    map_size = staticmethod(lambda length, stride: -(-(length // 4) // (stride // 4)))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ('name', 'parameters', 'entries'),
    [
        ('efficientvmamba_tiny', 6_109_332, 265),
        ('efficientvmamba_small', 10_761_584, 265),
        ('efficientvmamba_base', 32_949_480, 375),
    ],
)
def test_backbone_with_out_norms_has_the_official_size(name, parameters, entries):
    model = meta_model(name, features_only=True, out_norms=True)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert len(model.state_dict()) == entries


@pytest.mark.parametrize(('height', 'width'), ODD_MAPS)
def test_lattice_linear_uses_each_pixels_own_weight(height, width):
    x, weight = torch.randn(2, height, width, 3), torch.randn(4, 5, 3)
    out = lattice_linear(x, weight)
    for row in range(height):
        for column in range(width):
            own = weight[row % 2 + 2 * (column % 2)]
            torch.testing.assert_close(out[:, row, column], x[:, row, column] @ own.T)


def lattice_by_lattice(op: AtrousSS2D, x: torch.Tensor) -> torch.Tensor:
    """Each padded sub-lattice cut out, read row- or column-major, projected and scanned on its own."""
    height, width = x.shape[1:3]
    padded = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
    merged = torch.zeros_like(padded)
    A = -op.A_logs.exp().unflatten(0, (4, -1))
    for k in range(4):
        lattice = padded[:, k % 2 :: 2, k // 2 :: 2]
        by_column = k % 2 == 1
        tokens = (lattice.transpose(1, 2) if by_column else lattice).flatten(1, 2)
        dt, B, C = (tokens @ op.x_proj_weight[k].T).split([op.dt_rank, op.d_state, op.d_state], dim=-1)
        delta = F.softplus(dt @ op.dt_projs_weight[k].T + op.dt_projs_bias[k])
        h = x.new_zeros(len(x), op.d_inner, op.d_state)
        outputs = []
        for t in range(tokens.shape[1]):
            decay = torch.exp(delta[:, t, :, None] * A[k])
            h = decay * h + (delta[:, t] * tokens[:, t])[..., None] * B[:, t, None]
            outputs.append((h * C[:, t, None]).sum(-1) + op.Ds.unflatten(0, (4, -1))[k] * tokens[:, t])
        y = torch.stack(outputs, dim=1)
        rows, columns = lattice.shape[1:3]
        y = y.unflatten(1, (columns, rows)).transpose(1, 2) if by_column else y.unflatten(1, (rows, columns))
        merged[:, k % 2 :: 2, k // 2 :: 2] = y
    return merged[:, :height, :width]


@pytest.mark.parametrize(('height', 'width'), ODD_MAPS)
def test_scan_is_four_separate_lattices(height, width):
    op = AtrousSS2D(8, d_state=3, ssm_ratio=1.0).double()
    x = torch.randn(2, height, width, 8, dtype=torch.float64)
    projected = lattice_linear(x, op.x_proj_weight).flatten(1, 2)[:, :, None].expand(-1, -1, 4, -1)
    orders = scans.orders(scans.ATROUS_SCAN, height, width)
    y = op.scan_projected(x.flatten(1, 2), projected, orders).unflatten(1, (height, width))
    torch.testing.assert_close(y, lattice_by_lattice(op, x), rtol=1e-9, atol=1e-12)


def test_padding_decays_the_state():
    """On a map of odd width the last token of a row of lattice 2 is padding; dropping it changes what follows."""
    orders = scans.orders(['atrous2'], 4, 3)
    assert orders.index.tolist() == [[1, -1, 7, -1]]
    x, A = torch.ones(1, 12, 1), torch.full((1, 1, 1), -1.0)
    ones = torch.ones(1, 12, 1, 1)
    y = selective_scan(x, ones, A, ones, ones, orders=orders, softplus=False, dt_bias=torch.full((1, 1), 0.5))
    first, decay = 1.5, torch.tensor([-1.5, -0.5]).sum().exp()  # delta is 1 + 0.5 on a token, 0.5 on padding
    torch.testing.assert_close(y[0, 7, 0], 1.5 + decay * first)


def test_scan_wider_than_twice_the_block_goes_through_a_low_rank():
    op = AtrousSS2D(8, d_state=2, ssm_ratio=3.0)
    assert op.in_rank.weight.shape == (16, 24, 1, 1)
    assert op.out_rank.weight.shape == (24, 16)
    assert op(torch.randn(1, 5, 4, 8)).shape == (1, 5, 4, 8)


@pytest.mark.parametrize('shape', [(101, 79), (64, 96), (4, 4), (33, 7)], ids=str)
def test_maps_floor_in_the_stem_and_ceil_after_it(shape):
    maps = create_model(MICRO, features_only=True, out_norms=True).eval()(torch.randn(1, 3, *shape))
    size = [n // 4 for n in shape]
    for out, channels in zip(maps, (16, 24, 32, 40)):
        assert out.shape == (1, channels, *size)
        size = [(n + 1) // 2 for n in size]


@pytest.mark.parametrize(
    'kwargs',
    [
        {},
        dict(mlp_ratio=2.0),
        dict(downsample_version='v2'),
        dict(patch_norm=False),
        dict(ssm_ratio=3.0, d_state=2),
        dict(in_chans=1, patch_size=2),
        dict(depths=(1, 0, 1, 0)),
    ],
    ids=str,
)
def test_every_parameter_gets_a_gradient(kwargs):
    model = EfficientVMamba(**{**dict(depths=(1, 1, 1, 1), dims=16, num_classes=3), **kwargs}).train()
    model(torch.randn(2, model.in_chans, 72, 66)).square().sum().backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not missing


def test_official_names_of_the_optional_parts():
    model = EfficientVMamba(depths=(1, 1, 2, 1), dims=16, mlp_ratio=4.0, downsample_version='v2')
    shapes = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    assert shapes['layers.0.blocks.0.mlp.fc1.weight'] == (64, 16)
    assert shapes['layers.0.blocks.0.norm2.bias'] == (16,)
    assert shapes['layers.1.downsample.1.weight'] == (64, 32, 2, 2)
    assert shapes['layers.2.4.3.bias'] == (128,)  # two blocks between two permutes, then the downsampling


def test_drop_path_runs_through_both_kinds_of_block():
    model = create_model(MICRO, drop_path_rate=0.4)
    rates = [m.drop_prob for m in model.modules() if type(m).__name__ == 'DropPath']
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_layer_decay_groups_are_ordered_by_depth():
    from timm.models import group_parameters

    model = create_model(MICRO)
    groups = group_parameters(model, model.group_matcher(), reverse=True)
    assert set(groups) == {name for name, _ in model.named_parameters()}
    chain = [
        'patch_embed.0.weight',
        'layers.0.blocks.0.norm.weight',
        'layers.0.downsample.norm.weight',
        'layers.1.blocks.0.op.A_logs',
        'layers.2.1.conv_pw.0.weight',
        'layers.2.3.norm.weight',
        'layers.3.1.conv_pw.0.weight',
    ]
    depths = [groups[name] for name in chain]
    assert depths == sorted(set(depths))


@pytest.mark.parametrize('prefix', ['', 'module.', 'module.module.'], ids=repr)
def test_released_wrapping_loads(prefix):
    model = create_model(MICRO)
    state = {prefix + k: torch.randn_like(v) if v.is_floating_point() else v for k, v in model.state_dict().items()}
    load_weights(model, {'state_dict': state}, log=False)
    torch.testing.assert_close(model.classifier.head.weight, state[prefix + 'classifier.head.weight'])


def test_earlier_spellings_load():
    model = create_model(MICRO)
    spellings = [
        ('patch_embed.0.', 'patch_embed.proj.'),
        ('patch_embed.2.', 'patch_embed.norm.'),
        ('classifier.', ''),
        ('.blocks.0.norm.', '.blocks.0.ln_1.'),
        ('.op.', '.self_attention.'),
    ]
    state = {}
    for key, value in model.state_dict().items():
        for new, old in spellings:
            key = key.replace(new, old)
        state[key] = value
    assert not load_weights(create_model(MICRO), state, log=False).expected_missing


def test_a_classifiers_file_fills_a_backbone_without_its_out_norms():
    report = load_weights(
        create_model(MICRO, features_only=True, out_norms=True), create_model(MICRO).state_dict(), log=False
    )
    assert sorted(report.expected_missing) == sorted(f'outnorm{i}.{w}' for i in range(4) for w in ('weight', 'bias'))
    assert all(key.startswith('classifier.') for key in report.dropped)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(downsample_version='v3'), 'downsample_version'),
        (dict(dims=(16, 32)), 'dims'),
        (dict(drop_path_rate=1.0), 'drop_path_rate'),
        (dict(features_only=True, out_indices=(4,)), 'out_indices'),
        (dict(out_norms=True), 'out_norms'),
    ],
    ids=lambda v: v if isinstance(v, str) else '',
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        create_model(MICRO, **kwargs)
