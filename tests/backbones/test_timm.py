"""What timm's own test suite asks of a model, asked of every variant; and the libraries that build on timm."""

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from torchvision.models.detection.backbone_utils import FeaturePyramidNetwork
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from mmvssm import list_models
from mmvssm.backbones import HierarchicalBackbone, family_of

MICRO = list_models('test_*')
FULL = [name for name in list_models() if name not in MICRO]
HIERARCHICAL = [name for name in MICRO if issubclass(family_of(name).cls, HierarchicalBackbone)]


def meta_model(name: str, **kwargs):
    with torch.device('meta'):
        return timm.create_model(name, **kwargs)


@pytest.fixture(params=MICRO)
def name(request) -> str:
    return request.param


@pytest.mark.parametrize('variant', list_models())
def test_is_registered(variant):
    assert timm.is_model(variant)
    assert timm.models.get_pretrained_cfg(variant) is not None


@pytest.mark.parametrize('variant', list_models())
def test_default_config_names_parameters_and_published_preprocessing(variant):
    model = meta_model(variant)
    config = model.default_cfg
    state = model.state_dict()
    assert f'{config["first_conv"]}.weight' in state
    assert f'{config["classifier"]}.weight' in state
    assert state[f'{config["classifier"]}.weight'].shape[0] == config['num_classes'] == model.num_classes
    data = timm.data.resolve_data_config({}, model=model)
    assert len(data['mean']) == len(data['std']) == 3
    assert data['interpolation'] == 'bicubic'
    assert 0.8 < data['crop_pct'] <= 1


def test_classifier_gives_finite_logits(name):
    model = timm.create_model(name, pretrained=False, num_classes=13).eval()
    with torch.no_grad():
        logits = model(torch.randn(2, *model.default_cfg['input_size'][:1], 64, 64))
    assert logits.shape == (2, 13)
    assert logits.isfinite().all()


def test_backward_reaches_every_parameter(name):
    model = timm.create_model(name, num_classes=5).train()
    model(torch.randn(2, 3, 64, 64)).mean().backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None]


def test_pooled_and_unpooled_features(name):
    model = timm.create_model(name, num_classes=5).eval()
    x = torch.randn(1, *model.default_cfg['input_size'])
    with torch.no_grad():
        features = model.forward_features(x)
        pooled = model.forward_head(features, pre_logits=True)
        assert pooled.shape == (1, model.head_hidden_size)
        model.reset_classifier(0)
        torch.testing.assert_close(model(x), pooled)
        model.reset_classifier(0, '')
        assert model(x).shape[:-1] == features.shape[:-1]
    assert features.shape[-1] == model.num_features
    assert model.num_classes == 0
    if features.ndim == 4:
        assert tuple(features.shape[1:3]) == model.default_cfg['pool_size']


def test_unpooled_from_the_start(name):
    model = timm.create_model(name, num_classes=0, global_pool='').eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 64, 64)).ndim > 2


def test_headless_from_the_start_is_the_reset_form(name):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 64, 64)).shape == (1, model.head_hidden_size)


def test_checkpointing_runs_through_timms_switch(name):
    model = timm.create_model(name, num_classes=5).train()
    model.set_grad_checkpointing()
    model(torch.randn(2, 3, 64, 64)).mean().backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None]


@pytest.mark.parametrize('out_indices', [None, (0, 2), (-2, -1)], ids=str)
def test_feature_info_tells_the_truth(name, out_indices):
    model = timm.create_model(name, features_only=True, out_indices=out_indices).eval()
    with torch.no_grad():
        maps = model(torch.randn(1, 3, 64, 96))
    assert [m.shape[1] for m in maps] == model.feature_info.channels()
    assert [(64 // m.shape[2], 96 // m.shape[3]) for m in maps] == [(r, r) for r in model.feature_info.reduction()]


def test_intermediates_match_the_feature_model(name):
    """`forward_intermediates` of a classifier hands out what the feature form of the same weights does."""
    model = timm.create_model(name, num_classes=5).eval()
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        final, maps = model.forward_intermediates(x)
        last = model.forward_intermediates(x, indices=1, intermediates_only=True)
        torch.testing.assert_close(final, model.forward_features(x))
        torch.testing.assert_close(last[0], maps[-1])
    assert [m.shape[1] for m in maps] == [row['num_chs'] for row in model.feature_info]


def test_features_through_timms_getter(name):
    model = timm.create_model(name, features_only=True, feature_cls='getter')
    assert len(model.feature_info.channels()) == len(model.out_indices)
    with pytest.raises(ValueError, match="feature_cls='hook' is not supported; allowed: getter"):
        timm.create_model(name, features_only=True, feature_cls='hook')


def traced(model):
    """The model as a graph, the way that timm and torchvision trace one; the graph's output is its last node."""
    options = dict(
        leaf_modules=timm.models.get_notrace_modules(),
        autowrap_functions=timm.models.get_notrace_functions(),
        param_shapes_constant=True,
    )
    train, evaluate = get_graph_node_names(model, tracer_kwargs=options)
    nodes = dict(train_return_nodes=[train[-1]], eval_return_nodes=[evaluate[-1]])
    graph = create_feature_extractor(model, **nodes, tracer_kwargs=options)
    return graph, lambda x: next(iter(graph(x).values()))


def test_graph_is_the_same_function_at_any_size(name):
    model = timm.create_model(name, num_classes=5).eval()
    _, graph = traced(model)
    with torch.inference_mode():
        for size in ((64, 64), (72, 56)):
            x = torch.randn(1, 3, *size)
            assert torch.equal(graph(x), model(x))


@pytest.mark.parametrize(
    'form', [dict(num_classes=5), dict(features_only=True, out_indices=(0, 2))], ids=['whole', 'maps']
)
def test_default_tracers_take_it(name, form):
    """torch.fx.symbolic_trace and torchvision's extractor, neither told anything about these models."""
    model = timm.create_model(name, **form).eval()
    graph = torch.fx.symbolic_trace(model)
    stage = {'test_vil': 'xlstm.blocks.1', 'test_heracles': 'block2'}.get(name, 'layers.1')
    extractor = create_feature_extractor(model, {stage: 'map'})
    with torch.no_grad():
        for size in ((64, 64), (72, 56)):
            x = torch.randn(1, 3, *size)
            torch.testing.assert_close(graph(x), model(x), rtol=0, atol=0)
            assert extractor(x)['map'].isfinite().all()
    with pytest.raises(ValueError, match='floating-point image of at least'):
        graph(torch.zeros(3, 64, 64))


def test_graph_trains(name):
    model = timm.create_model(name, num_classes=5).train()
    graph, run = traced(model)
    run(torch.randn(2, 3, 64, 64)).mean().backward()
    assert sum(p.numel() for p in graph.parameters()) == sum(p.numel() for p in model.parameters())
    assert not [n for n, p in graph.named_parameters() if p.grad is None]


def test_scripting_is_refused_with_what_works_instead(name):
    with pytest.raises(NotImplementedError, match=r'jit\.script cannot.*torch\.jit\.trace, torch\.export'):
        torch.jit.script(timm.create_model(name))


@pytest.mark.parametrize('coarse', [False, True], ids=['fine', 'coarse'])
def test_group_matcher_orders_the_parameters(name, coarse):
    from timm.models import group_parameters

    model = timm.create_model(name, num_classes=5)
    groups = group_parameters(model, model.group_matcher(coarse=coarse))
    assert sum(len(v) for v in groups.values()) == len(list(model.parameters()))


def test_no_weight_decay_names_exist(name):
    model = timm.create_model(name, num_classes=5)
    names = {n for n, _ in model.named_parameters()}
    assert model.no_weight_decay() <= names


def one_size_each(variants: list[str]):
    """The variants as parameters: the last of each family, which is a small one, and the others as slow tests."""
    first = {family_of(name).cls: name for name in variants}.values()
    return [name if name in first else pytest.param(name, marks=pytest.mark.slow) for name in variants]


@pytest.mark.parametrize('variant', one_size_each(FULL))
def test_full_size_features_on_the_meta_device(variant):
    model = meta_model(variant, features_only=True)
    with torch.no_grad():
        maps = model(torch.empty(1, 3, 224, 224, device='meta'))
    assert [m.shape[1] for m in maps] == model.feature_info.channels()


@pytest.mark.parametrize('encoder', ['tu-vmamba_tiny_s1l8', *(f'tu-{name}' for name in HIERARCHICAL)])
def test_unet_of_segmentation_models_pytorch_trains(encoder):
    net = smp.Unet(encoder_name=encoder, encoder_weights=None, classes=3, decoder_channels=(32, 16, 16, 8, 8))
    size = 64 if 'test' in encoder else 32
    x, target = torch.randn(2, 3, size, size), torch.randint(3, (2, size, size))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    losses = []
    for _ in range(4):
        loss = torch.nn.functional.cross_entropy(net(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ('decoder', 'options'),
    [
        (smp.Unet, dict(encoder_depth=3, decoder_channels=(32, 16, 16))),
        (smp.DeepLabV3Plus, dict(encoder_output_stride=16)),
        (smp.DeepLabV3, dict(encoder_output_stride=8)),
        (smp.Segformer, {}),
    ],
    ids=lambda v: getattr(v, '__name__', ''),
)
def test_decoders_leave_no_parameter_of_the_encoder_without_gradient(decoder, options):
    net = decoder('tu-test_vmamba', encoder_weights=None, classes=2, **options)
    y = net(torch.randn(2, 3, 64, 64))
    assert y.shape == (2, 2, 64, 64)
    y.square().mean().backward()
    assert not [n for n, p in net.encoder.named_parameters() if p.grad is None]


@pytest.mark.parametrize('encoder', ['tu-test_vim', 'tu-test_vil', 'tu-test_localvim'])
def test_plain_encoders_are_refused_by_its_decoders(encoder):
    with pytest.raises(ValueError, match='Unsupported model downsampling pattern'):
        smp.Unet(encoder, encoder_weights=None)


@pytest.mark.parametrize('encoder', HIERARCHICAL)
def test_torchvision_feature_pyramid_trains(encoder):
    body = timm.create_model(encoder, features_only=True)
    pyramid = FeaturePyramidNetwork(body.feature_info.channels(), 16)
    maps = pyramid({str(i): m for i, m in enumerate(body(torch.randn(2, 3, 64, 96)))})
    sum(m.square().mean() for m in maps.values()).backward()
    assert [m.shape[1] for m in maps.values()] == [16] * 4
    assert all(p.grad is not None for p in body.parameters())
