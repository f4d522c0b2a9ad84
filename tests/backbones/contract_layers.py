"""What every backbone promises to those who hook, wrap, replace, quantise, prune, offload or narrow its layers.

Part of the contract, see `tests/backbones/contract.py`.
"""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

HALVES = pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=['fp16', 'bf16'])
NORMS = 'LayerNorm', 'RMSNorm', 'BatchNorm2d', 'ResidualGainNorm'
WEIGHTED = nn.Linear, nn.Conv1d, nn.Conv2d


class Adapter(nn.Module):
    """A linear layer and a low-rank addition to it."""

    def __init__(self, base: nn.Linear, rank: int = 2):
        super().__init__()
        self.base = base
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features)
        self.up = nn.Parameter(torch.randn(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + x @ self.down.T @ self.up.T


class Opaque(nn.Module):
    """A layer of which nothing can be read; it can be called."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.call = [layer]

    def forward(self, x: Tensor) -> Tensor:
        return self.call[0](x)


class Gain(nn.Module):
    """A parametrisation: the weight times a learned number."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.5))

    def forward(self, weight: Tensor) -> Tensor:
        return self.gain * weight


def layers(model: nn.Module, kinds: tuple = WEIGHTED) -> dict[str, nn.Module]:
    return {name: module for name, module in model.named_modules() if isinstance(module, kinds)}


def holds_tensors(module: nn.Module) -> bool:
    return bool([*module.parameters(recurse=False), *module.buffers(recurse=False)])


def replace(model: nn.Module, name: str, new: nn.Module) -> nn.Module:
    parent, _, leaf = name.rpartition('.')
    setattr(model.get_submodule(parent), leaf, new)
    return new


def offload(module: nn.Module) -> None:
    """Keep the module's own tensors away but for the time of its forward, as accelerate's hooks do."""
    tensors, forward = {**module._parameters, **module._buffers}, module.forward

    def place(get) -> None:
        for name, tensor in tensors.items():
            if tensor is not None:
                held = get(tensor)
                (module._parameters if name in module._parameters else module._buffers)[name] = held

    def away() -> None:
        place(lambda tensor: nn.Parameter(tensor.to('meta')) if isinstance(tensor, nn.Parameter) else tensor.to('meta'))

    def run(*args):
        place(lambda tensor: tensor)
        try:
            return forward(*args)
        finally:
            away()

    away()
    module.forward = run


class LayerContract:
    """Inherited by `BackboneContract`, which has `features`, `classifier`, `images` and `tolerance`."""

    def assert_close(self, found, expected, rtol: float | None = None) -> None:
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=(rtol or self.tolerance) * float(b.detach().abs().max()))

    def test_every_layer_is_called(self):
        for model in (self.classifier(), self.features(out_norms=True)):
            names = {module: name for name, module in model.named_modules() if name and holds_tensors(module)}
            called = []
            for module in names:
                module.register_forward_pre_hook(lambda module, args, called=called: called.append(module))
            with torch.no_grad():
                model(self.images())
            assert [name for module, name in names.items() if module not in called] == []

    def test_every_adapter_trains_and_acts(self):
        model, x = self.classifier().requires_grad_(False), self.images()
        plain = model(x)
        linear = [(name, layer) for name, layer in layers(model).items() if type(layer) is nn.Linear]
        adapters = {name: replace(model, name, Adapter(layer)) for name, layer in linear}
        model(x).square().sum().backward()
        assert [name for name, a in adapters.items() if a.up.grad is None or not a.up.grad.any()] == []
        for adapter in adapters.values():
            adapter.requires_grad_(False).up.zero_()
        self.assert_close([model(x)], [plain])

    def test_layers_that_can_only_be_called_change_nothing(self):
        model, x = self.features(out_norms=True), self.images()
        with torch.no_grad():
            expected = model(x)
            for name, layer in layers(model, (*WEIGHTED, nn.LayerNorm, nn.RMSNorm, nn.BatchNorm2d)).items():
                replace(model, name, Opaque(layer))
            self.assert_close(model(x), expected)

    @pytest.mark.slow
    def test_compiled_adapters_act(self):
        model, x = self.features(), self.images()
        for name, layer in layers(model).items():
            if type(layer) is nn.Linear:
                replace(model, name, Adapter(layer))
        torch._dynamo.reset()
        with torch.no_grad():
            self.assert_close(torch.compile(model, fullgraph=True, backend='eager')(x), model(x))

    def test_dynamic_quantisation_stays_close(self):
        model, x = self.features(), self.images()
        quantised = torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), {nn.Linear}, dtype=torch.qint8)
        with torch.no_grad():
            for a, b in zip(quantised(x), model(x)):
                assert 0 < (a - b).abs().mean() < 0.05 * b.abs().mean()

    def test_pruned_weights_count_as_zeros(self):
        model, x = self.features(), self.images()
        zeroed = copy.deepcopy(model)
        for name, layer in layers(model).items():
            prune.random_unstructured(layer, 'weight', 0.5)
            with torch.no_grad():
                zeroed.get_submodule(name).weight.mul_(layer.weight_mask)
        with torch.no_grad():
            self.assert_close(model(x), zeroed(x))

    def test_parametrised_weights_act_and_train(self):
        model, x = self.classifier(), self.images()
        scaled = copy.deepcopy(model)
        for name, layer in layers(model).items():
            parametrize.register_parametrization(layer, 'weight', Gain())
            with torch.no_grad():
                scaled.get_submodule(name).weight.mul_(1.5)
        found = model(x)
        self.assert_close([found], [scaled(x)])
        found.square().sum().backward()
        assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []

    def test_weights_may_be_away_between_calls(self):
        model, x = self.features(), self.images()
        with torch.no_grad():
            expected = model(x)
            for module in list(model.modules())[1:]:
                offload(module)
            self.assert_close(model(x), expected)

    @HALVES
    def test_half_models_stay_close(self, dtype):
        model, x = self.features(out_norms=True), self.images()
        with torch.no_grad():
            expected = model(x)
            found = model.to(dtype)(x.to(dtype))
        assert {m.dtype for m in found} == {dtype}
        self.assert_close([m.float() for m in found], expected, rtol=0.01 if dtype == torch.float16 else 0.05)

    @pytest.mark.parametrize('wide_norms', [False, True], ids=['pure', 'float32 norms'])
    @HALVES
    def test_half_models_train(self, dtype, wide_norms):
        model = self.classifier().train().to(dtype)
        for module in model.modules() if wide_norms else ():
            if type(module).__name__ in NORMS:
                module.float()
        model.reset_classifier(5)
        logits = model(self.images().to(dtype))
        assert logits.dtype == dtype
        (logits.float().square().mean()).backward()
        assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
        assert all(p.grad.dtype == p.dtype for p in model.parameters())
