"""Scan orders of the user's own in every backbone that can take them: by name, by function, by dotted name."""

import copy
import pickle

import pytest
import torch

from mmvssm import create_model, scans

FAMILIES = {  # the argument, the number of scanning layers and of orders in each
    'test_vmamba': ('scan_orders', 5, 4),
    'test_localvmamba': ('directions', 5, 4),
    'test_efficientvmamba': ('scan_orders', 3, 4),
    'test_localvim': ('directions', 4, 4),
    'test_vim': ('scan_orders', 4, 2),
}


def snake(H, W):
    """Rows, every other one from right to left."""
    grid = torch.arange(H * W).view(H, W)
    return torch.cat([row.flip(0) if i % 2 else row for i, row in enumerate(grid)])


def columns(H, W):
    return torch.arange(H * W).view(H, W).t().reshape(-1)


def function_of(name: str):
    return lambda H, W: scans.order_function(name)(H, W)


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param, *FAMILIES[request.param]


@pytest.fixture
def image():
    return torch.randn(1, 3, 61, 75, generator=torch.Generator().manual_seed(0))


def micro(name: str, **kwargs):
    """With weights far from their start, at which the orders hardly matter."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=5, **kwargs).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model


def test_a_function_is_its_name(family, image):
    """The last order is a function, the others are names; one list for all layers, or one for each."""
    name, field, layers, count = family
    names, own = ['h', 'w3', 'v', 'v'][-count:], ['h', 'w3', 'v', columns][-count:]
    dotted = [*own[:-1], f'{__name__}.columns']
    with torch.no_grad():
        expected = micro(name, **{field: names})(image)
        assert (expected - micro(name, **{field: ['h'] * count})(image)).abs().max() > 1e-2
        for value in (own, [own] * layers, [dotted] * layers):
            assert torch.equal(micro(name, **{field: value})(image), expected)


def test_a_new_order_trains_and_is_copied_and_pickled(family, image):
    name, field, layers, count = family
    model = micro(name, **{field: [[snake] * count] * layers})
    model(image).square().sum().backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    with torch.no_grad():
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(other(image), model(image))


@pytest.mark.parametrize('name', ['test_vmamba', 'test_efficientvmamba'])
def test_parameters_belong_to_the_place_in_the_list(name, image):
    model, turned = micro(name, scan_orders=scans.CROSS_SCAN), micro(name, scan_orders=scans.CROSS_SCAN[::-1])
    state = model.state_dict()
    for key, value in state.items():
        if key.endswith(('x_proj_weight', 'dt_projs_weight', 'dt_projs_bias')):
            state[key] = value.flip(0)
        elif key.endswith(('A_logs', 'Ds')):
            state[key] = value.unflatten(0, (4, -1)).flip(0).flatten(0, 1)
    turned.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(turned(image), model(image))


@pytest.mark.parametrize(
    ('name', 'published'), [('test_vmamba', scans.CROSS_SCAN), ('test_vim', ('h', 'h_flip'))], ids=['vmamba', 'vim']
)
def test_the_published_orders_by_hand_are_the_default(name, published, image):
    with torch.no_grad():
        assert torch.equal(micro(name, scan_orders=published)(image), micro(name)(image))


def test_lattices_by_functions_are_the_lattices(image):
    """Every token projected for each lattice, of which each then reads its own: the published numbers."""
    own = [function_of(name) for name in scans.ATROUS_SCAN]
    with torch.no_grad():
        expected = micro('test_efficientvmamba')(image)
        torch.testing.assert_close(micro('test_efficientvmamba', scan_orders=own)(image), expected)


def test_vim_along_columns_is_vim_on_the_turned_image(image):
    """With a class token in the middle and an even number of patches, so that both ways read it at the same step."""
    options = dict(pos_embed=False, img_size=64)
    model, turned = micro('test_vim', scan_orders=('v', 'v_flip'), **options), micro('test_vim', **options)
    turned.load_state_dict(model.state_dict())
    with torch.no_grad():
        turned.patch_embed.proj.weight.copy_(model.patch_embed.proj.weight.mT)
        torch.testing.assert_close(turned(image[..., :64].mT), model(image[..., :64]), rtol=1e-4, atol=1e-4)


def test_compiled_with_a_function(image):
    model, image = micro('test_localvmamba', directions=[columns, 'w3']).double(), image.double()
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend='eager')
    with torch.no_grad():
        torch.testing.assert_close(compiled(image), model(image))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda orders, n: [orders] * (n + 1), r'{field} has \d layers, the model \d'),
        (lambda orders, n: [orders] * (n - 1) + [[*orders[1:], 'x']], r"{last}: scan order 'x' is unknown"),
        (lambda orders, n: [orders] * (n - 1) + [[*orders[1:], 7]], r'{last}: scan order 7 is unknown'),
        (lambda orders, n: [*orders[1:], 7], r'{end}: scan order 7 is unknown'),
        (lambda orders, n: [[]] + [orders] * (n - 1), r'{field}\[0\]=\[\] must be a list of'),
        (lambda orders, n: ['h'] + [orders] * (n - 1), r"{field}\[0\]='h' must be a list of"),
        (
            lambda orders, n: [*orders[1:], 'torch.nowhere'],
            r"{end}: scan order 'torch.nowhere' could not be imported .*no attribute 'nowhere'",
        ),
        (lambda orders, n: 'h', r"{field}='h' must be a list of .*, or one such list \(or None\) for each"),
        (lambda orders, n: [], r'{field}=\[\] must be a list of .* allowed: h, v,'),
    ],
    ids=['layers', 'name', 'number', 'number in one list', 'none', 'bare name', 'dotted name', 'no list', 'empty'],
)
def test_wrong_lists_name_the_layer_and_what_is_allowed(family, change, message):
    name, field, layers, count = family
    end = rf'\[{count - 1}\]'
    message = message.format(field=field, end=field + end, last=rf'{field}\[{layers - 1}\]{end}')
    with torch.device('meta'), pytest.raises(ValueError, match=message):
        create_model(name, **{field: change(['h'] * count, layers)})


@pytest.mark.parametrize('name', ['test_vmamba', 'test_efficientvmamba', 'test_vim'])
def test_a_wrong_number_of_orders_is_named(name):
    with torch.device('meta'), pytest.raises(ValueError, match=r'scan_orders=.* must be a list of [24] scan orders'):
        create_model(name, scan_orders=['h'] * 3)


@pytest.mark.parametrize(
    ('name', 'options', 'message'),
    [
        ('test_vmamba', dict(forward_type='v052dc'), r'scan_orders\[0\]: .*v052dc.* allowed: None'),
        ('test_vim', dict(class_token='both'), "class_token='both' .* allowed: None, 'middle'"),
    ],
    ids=['cascade', 'class token'],
)
def test_where_the_block_allows_no_other_order_it_says_so(name, options, message):
    with torch.device('meta'), pytest.raises(ValueError, match=message):
        create_model(name, scan_orders=['h'] * FAMILIES[name][2], **options)


def test_a_function_that_returns_no_order_is_named_with_its_layer(family, image):
    name, field, layers, count = family

    def twice(H, W):
        return torch.zeros(H * W, dtype=torch.int64)

    lists = [['h'] * count] * (layers - 1) + [[*['h'] * (count - 1), twice]]
    with pytest.raises(
        ValueError,
        match=rf'{field}\[{layers - 1}\]\[{count - 1}\]: scan order .*twice.* gives token 0 \d+ times for a',
    ):
        micro(name, **{field: lists})(image)


def raster(tokens):
    """No scan order: it takes one argument."""


@pytest.mark.parametrize('order', [raster, f'{__name__}.raster'], ids=['function', 'dotted name'])
def test_a_function_that_fails_is_named_with_its_place(order, image):
    model = micro('test_vim', scan_orders=['h', order])
    with pytest.raises(ValueError, match=r'scan_orders\[0\]\[1\]: scan order .*raster.* fails on a map of .*TypeError'):
        model(image)
