"""What every backbone promises; a family's test module inherits the class and names its micro variant.

class TestVMamba(BackboneContract):
    micro = 'test_vmamba'
    parameters = {'vmamba_tiny_s1l8': 30_249_064}
"""

import copy
import pickle

import pytest
import timm
import torch
from torch import nn

from mmvssm import weights
from mmvssm.backbones import create_model, load_weights
from mmvssm.backbones._stages import HierarchicalBackbone
from tests.backbones.contract_layers import LayerContract


def meta_model(name: str, **kwargs) -> nn.Module:
    with torch.device('meta'):
        return create_model(name, **kwargs)


class BackboneContract(LayerContract):
    """Inherit and set the class attributes.

    Attributes:
        micro: the family's micro variant (below 0.3 M parameters).
        parameters: variant -> published or measured number of parameters, classifier included.
        gflops: variant -> published multiply-adds at 224 x 224, in units of 1e9 (checked to 1 %).
        strides: of the maps of the feature model.
        least: pixels along the sides of the smallest image.
        size: (H, W) of the test images, odd on purpose.
        batch_rtol: how far an image's features may move with its neighbours in the batch (rounding).
    """

    micro: str
    parameters: dict[str, int] = {}
    gflops: dict[str, float] = {}
    strides = (4, 8, 16, 32)
    least = 1
    size = (61, 75)
    tolerance = 1e-5
    map_size = staticmethod(lambda length, stride: -(-length // stride))

    def features(self, **kwargs) -> nn.Module:
        torch.manual_seed(0)
        return create_model(self.micro, features_only=True, **kwargs).eval()

    def classifier(self, **kwargs) -> nn.Module:
        torch.manual_seed(0)
        return create_model(self.micro, **{'num_classes': 7, **kwargs}).eval()

    def images(self, batch: int = 2, channels: int = 3) -> torch.Tensor:
        return torch.randn(batch, channels, *self.size, generator=torch.Generator().manual_seed(1))

    def test_micro_variant_is_micro(self):
        assert sum(p.numel() for p in meta_model(self.micro, num_classes=0).parameters()) < 300_000

    def test_maps_have_the_promised_shapes(self):
        model = self.features()
        with torch.no_grad():
            maps = model(self.images())
        shapes = [tuple(m.shape) for m in maps]
        expected = [
            (2, channels, self.map_size(self.size[0], stride), self.map_size(self.size[1], stride))
            for channels, stride in zip(model.feature_info.channels(), self.strides)
        ]
        assert shapes == expected
        assert model.feature_info.reduction() == list(self.strides)

    def test_stages_after_the_last_map_are_not_held(self):
        """The whole model's weights load, what is left out is accounted for, and every parameter gets a gradient."""
        whole, few = self.features(), self.features(out_indices=(0, 1))
        report = load_weights(few, self.classifier().state_dict(), log=False)
        assert set(few.pruned) <= set(report.dropped)
        assert set(whole.state_dict()) - set(few.state_dict()) == set(few.pruned) != set()
        load_weights(few, whole.state_dict(), log=False)
        load_weights(few, few.state_dict(), log=False)
        with torch.no_grad():
            torch.testing.assert_close(few(self.images()), whole(self.images())[:2])
        sum(m.square().mean() for m in few.train()(self.images())).backward()
        assert not [n for n, p in few.named_parameters() if p.grad is None]
        few.freeze(len(list(whole.freeze_groups())) - 1)

    def test_pruned_models_refuse_files_of_a_deeper_or_shallower_variant(self):
        few, state = self.features(out_indices=(0,)), self.features().state_dict()
        last = list(few.pruned)[-1]
        with pytest.raises(weights.CheckpointError, match='1 missing'):
            load_weights(few, {k: v for k, v in state.items() if k != last}, log=False)
        with pytest.raises(weights.CheckpointError, match='1 unexpected'):
            load_weights(few, {**state, last: state[last][None]}, log=False)

    def test_timms_pruning_of_a_classifier(self):
        model = self.classifier()
        with torch.no_grad():
            expected = model.forward_intermediates(self.images(), indices=[0, 1], intermediates_only=True)
            assert model.prune_intermediate_layers([0, 1]) == [0, 1]
            torch.testing.assert_close(model.forward_intermediates(self.images())[1], expected)
            assert model(self.images()).ndim > 2
        with pytest.raises(ValueError, match=r'indices=.* holds 2; allowed: 0 to 1'):
            model.forward_intermediates(self.images(), indices=[2])

    @pytest.mark.parametrize(
        'image',
        [
            torch.zeros(1, 3, 0, 64),
            torch.zeros(3, 64, 64),
            torch.zeros(1, 3, 64, 64, dtype=torch.uint8),
            torch.zeros(1, 2, 64, 64),
            None,
            [[1.0]],
        ],
        ids=['no rows', '3-D', 'uint8', 'channels', 'None', 'list'],
    )
    def test_what_is_no_image_is_refused_at_every_entry(self, image):
        got = '.*' if image is None or isinstance(image, list) else rf'.*got \({image.shape[0]}, '
        message = rf'\(B, in_chans, H, W\) floating-point image of at least {self.least} x {self.least} pixels{got}'
        for model in (self.features(), self.classifier()):
            for entry in (model, model.forward_features, model.forward_intermediates):
                with pytest.raises(ValueError, match=message):
                    entry(image)

    def test_the_least_image_works_and_no_smaller_one(self):
        for model in (self.features(), self.classifier()):
            with torch.no_grad():
                assert all(m.isfinite().all() for m in model(torch.randn(2, 3, self.least, self.least)))
            with pytest.raises(ValueError, match='floating-point image of at least'):
                model(torch.randn(2, 3, self.size[0], self.least - 1))

    @pytest.mark.parametrize('out_indices', [(0, 9), (-99,), (1, 0), (), (0.5,)], ids=str)
    def test_wrong_out_indices_are_named(self, out_indices):
        with pytest.raises(ValueError, match='out_indices'):
            self.features(out_indices=out_indices)

    def test_unknown_argument_is_an_error(self):
        with pytest.raises(TypeError, match=r'windowsize.*allowed'):
            create_model(self.micro, windowsize=7)

    def test_size_may_change_from_call_to_call(self):
        model = self.features()
        with torch.no_grad():
            first = model(self.images())
            model(torch.randn(1, 3, 64, 32))
            torch.testing.assert_close(model(self.images()), first, rtol=0, atol=0)

    def test_image_does_not_depend_on_its_neighbours(self):
        model, x = self.features(), self.images(3)
        with torch.no_grad():
            for together, alone in zip(model(x), model(x[1:2])):
                torch.testing.assert_close(
                    together[1:2], alone, rtol=0, atol=self.tolerance * float(together.abs().max())
                )

    def test_empty_batch(self):
        with torch.no_grad():
            assert [m.shape[0] for m in self.features()(self.images(0))] == [0] * len(self.strides)

    def test_channels_last_input_changes_nothing(self):
        model, x = self.features(), self.images()
        with torch.no_grad():
            for a, b in zip(model(x), model(x.to(memory_format=torch.channels_last))):
                torch.testing.assert_close(a, b, rtol=0, atol=self.tolerance * float(a.abs().max()))

    def test_two_runs_are_bitwise_equal(self):
        model, x = self.features(), self.images()
        with torch.no_grad():
            torch.testing.assert_close(model(x), model(x), rtol=0, atol=0)

    def test_every_parameter_gets_a_gradient(self):
        model = self.classifier().train()
        model(self.images()).square().sum().backward()
        assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]

    def test_checkpointed_training_equals_plain_training(self):
        """Gradients of two backward passes, BatchNorm's statistics, and the random numbers of drop path and dropout."""
        plain = self.classifier(drop_path_rate=0.3, drop_rate=0.3).train()
        checkpointed = copy.deepcopy(plain)
        checkpointed.set_grad_checkpointing(True)
        for model in (plain, checkpointed):
            torch.manual_seed(2)
            loss = model(self.images()).square().sum()
            loss.backward(retain_graph=True)
            loss.backward()
        for (name, a), b in zip(plain.named_parameters(), checkpointed.parameters()):
            torch.testing.assert_close(a.grad, b.grad, msg=lambda text, name=name: f'{name}: {text}')
        torch.testing.assert_close(dict(checkpointed.named_buffers()), dict(plain.named_buffers()), rtol=0, atol=0)

    def test_backward_hooks_run_on_every_module(self):
        for model in (self.classifier(), self.features()):
            for module in model.modules():
                module.register_full_backward_hook(lambda module, grad_in, grad_out: None)
            sum(m.sum() for m in model(self.images())).backward()

    @pytest.mark.parametrize('form', ['maps', 'normed maps', 'tokens', 'features'])
    def test_what_is_returned_may_be_changed_in_place(self, form):
        """On an image of the least size, where a map and the network's own memory are easily one."""
        image = torch.randn(2, 3, *[max(self.least, 4)] * 2)
        model = self.features(out_norms=form == 'normed maps') if form != 'features' else self.classifier()
        grads = []
        for relu in (torch.relu, torch.relu_):
            model.zero_grad()
            x = image.clone().requires_grad_()
            returned = self._returned(model, x, form)
            memory = [t.untyped_storage().data_ptr() for t in (x, *returned)]
            assert len(set(memory)) == len(memory)
            sum(relu(t).square().sum() for t in returned).backward()
            grads.append([x.grad, *(p.grad for p in model.parameters() if p.grad is not None)])
        torch.testing.assert_close(grads[1], grads[0])

    def _returned(self, model: nn.Module, x: torch.Tensor, form: str) -> list[torch.Tensor]:
        if 'maps' in form:
            return model(x)
        layout = 'NHWC' if isinstance(model, HierarchicalBackbone) else 'NLC'
        final, maps = model.forward_intermediates(x, output_fmt=layout)
        return [final, *maps, model.forward_features(x)]

    def test_autocast_keeps_parameters_and_stays_close(self):
        model, x = self.features(), self.images()
        with torch.no_grad():
            exact = model(x)
            with torch.autocast('cpu', dtype=torch.bfloat16):
                half = model(x)
        assert all(p.dtype == torch.float32 for p in model.parameters())
        for a, b in zip(exact, half):
            assert b.isfinite().all()
            assert (a - b.float()).abs().mean() < 0.1 * a.abs().mean()

    def test_deepcopy_and_pickle_give_the_same_model(self):
        model, x = self.features(), self.images()
        with torch.no_grad():
            expected = model(x)
            torch.testing.assert_close(copy.deepcopy(model)(x), expected, rtol=0, atol=0)
            torch.testing.assert_close(pickle.loads(pickle.dumps(model))(x), expected, rtol=0, atol=0)

    def test_saved_weights_load_back_bit_for_bit(self, tmp_path):
        model = self.classifier()
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.01 * torch.randn_like(p))
        torch.save({'state_dict': model.state_dict()}, tmp_path / 'w.pth')
        other = create_model(self.micro, pretrained=str(tmp_path / 'w.pth'), num_classes=7).eval()
        with torch.no_grad():
            torch.testing.assert_close(other(self.images()), model(self.images()), rtol=0, atol=0)

    def test_classifier_weights_load_into_a_feature_model(self):
        report = load_weights(self.features(out_norms=True), self.classifier().state_dict(), log=False)
        assert report.loaded
        assert report.dropped

    def test_another_number_of_classes_gets_a_fresh_head(self):
        report = load_weights(create_model(self.micro, num_classes=5), self.classifier().state_dict(), log=False)
        assert {name.rsplit('.', 1)[-1] for name in report.expected_missing} == {'weight', 'bias'}

    def test_compiles_without_a_graph_break(self):
        model, x = self.features(), self.images()
        torch._dynamo.reset()
        compiled = torch.compile(model, fullgraph=True, backend='eager')
        with torch.no_grad():
            for a, b in zip(model(x), compiled(x)):
                torch.testing.assert_close(a, b, rtol=0, atol=self.tolerance * float(a.abs().max()))

    def test_frozen_stages_get_no_gradient(self):
        model = self.features().train()
        model.freeze(1)
        sum(m.square().sum() for m in model(self.images())).backward()
        frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
        assert frozen
        assert not [n for n, p in model.named_parameters() if n in frozen and p.grad is not None]
        with pytest.raises(ValueError, match='frozen_stages'):
            model.freeze(99)

    def test_frozen_stages_stay_in_evaluation_mode(self):
        model = self.features(drop_path_rate=0.5)
        model.freeze(1)
        for frozen in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            frozen.train()
            asleep = [module for group in list(frozen.freeze_groups())[:2] for module in group]
            asleep = [m for module in asleep if isinstance(module, nn.Module) for m in module.modules()]
            assert asleep
            assert not any(module.training for module in asleep)
            assert sum(module.training for module in frozen.modules()) > 0

    def test_thawing_restores_what_freezing_changed(self):
        model = self.features().train()
        kept = next(model.parameters()).requires_grad_(False)  # the user's own doing
        trainable = {n for n, p in model.named_parameters() if p.requires_grad}
        model.freeze(len(list(model.freeze_groups())) - 1)
        model.freeze(0)
        assert sum(p.requires_grad for p in model.parameters()) > 0
        model.freeze(-1)
        assert {n for n, p in model.named_parameters() if p.requires_grad} == trainable
        assert not kept.requires_grad
        assert all(module.training for module in model.modules())

    def test_timm_passes_its_scripts_default_flags(self):
        flags = dict.fromkeys(('drop_path_rate', 'drop_block_rate', 'global_pool', 'bn_momentum', 'bn_eps'))
        timm.create_model(self.micro, num_classes=5, drop_rate=0.0, scriptable=False, checkpoint_path='', **flags)

    def test_dropout_before_the_classifier_acts_in_training_alone(self):
        model, x = self.classifier(drop_rate=0.9), self.images()
        with torch.no_grad():
            torch.testing.assert_close(model(x), self.classifier()(x))
            assert (model.train()(x) - model(x)).abs().max() > 0

    @pytest.mark.parametrize('in_chans', [1, 4])
    def test_other_numbers_of_input_channels(self, in_chans):
        model = self.features(in_chans=in_chans)
        with torch.no_grad():
            assert all(m.isfinite().all() for m in model(self.images(channels=in_chans)))
        load_weights(model, self.classifier().state_dict(), log=False)

    def test_gray_images_mean_what_three_equal_channels_do(self):
        colour, gray, x = self.features(), self.features(in_chans=1), self.images(channels=1)
        load_weights(gray, colour.state_dict(), log=False)
        with torch.no_grad():
            for a, b in zip(gray(x), colour(x.expand(-1, 3, -1, -1))):
                torch.testing.assert_close(a, b, rtol=0, atol=self.tolerance * float(b.abs().max()))

    def test_group_matcher_covers_every_parameter_in_order(self):
        from timm.models._manipulate import group_parameters

        model = self.classifier()
        groups = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
        assert set(groups) == {n for n, _ in model.named_parameters()}
        first = groups[f'{model.first_conv}.weight']
        assert first == 0
        assert groups[f'{model.classifier_name}.weight'] == max(groups.values())

    def test_timm_builds_the_same_model(self):
        torch.manual_seed(0)
        model = timm.create_model(self.micro, features_only=True).eval()
        with torch.no_grad():
            torch.testing.assert_close(model(self.images()), self.features()(self.images()), rtol=0, atol=0)

    def test_timm_verbs_of_a_classifier(self):
        model, x = self.classifier(), self.images()
        with torch.no_grad():
            features = model.forward_features(x)
            torch.testing.assert_close(model.forward_head(features), model(x))
            assert model.forward_head(features, pre_logits=True).shape == (2, model.head_hidden_size)
            final, maps = model.forward_intermediates(x)
            torch.testing.assert_close(final, features)
            assert [m.shape[1] for m in maps] == [row['num_chs'] for row in model.feature_info]
            model.reset_classifier(11)
            assert model(x).shape == (2, 11)
            model.reset_classifier(0)
            assert model(x).shape == (2, model.head_hidden_size)
        assert isinstance(model.get_classifier(), nn.Identity)

    def test_default_config_names_real_modules(self):
        model = self.classifier()
        names = dict(model.named_modules())
        assert model.default_cfg['first_conv'] in names
        assert model.default_cfg['classifier'] in names

    def test_parameter_counts_are_the_published_ones(self):
        counted = {name: sum(p.numel() for p in meta_model(name).parameters()) for name in self.parameters}
        assert counted == self.parameters

    def test_flops_are_the_published_ones(self):
        from mmvssm.flops import count_flops

        counted = {name: count_flops(meta_model(name), (1, 3, 224, 224)) / 1e9 for name in self.gflops}
        assert counted == {name: pytest.approx(value, rel=0.01) for name, value in self.gflops.items()}
