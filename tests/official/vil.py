"""Vision-LSTM: the hub package's `VisionLSTM`, `VisionLSTM2`, and `vislstm.VisionLSTM2` of the training code."""

import torch
from torch import nn

from mmvssm.backbones.vil import VisionLSTM, from_hub
from mmvssm.kernels import mlstm
from tests.golden_cases import fill
from tests.official import take

HUB = dict(
    dim='embed_dim',
    patch_size='patch_size',
    depth='depth',
    stride='stride',
    drop_path_rate='drop_path_rate',
    drop_path_decay='drop_path_decay',
    legacy_norm='legacy_norm',
)
SECOND = dict(conv_kind='conv_kind', proj_bias='proj_bias', norm_bias='norm_bias', init_weights='init_weights')
POOLS = {None: '', 'bilateral_avg': 'bilateral_avg', 'bilateral_flatten': 'bilateral_flatten'}
TRAINING_EPS = dict(norm_eps=1e-5, head_norm_eps=1e-6)


class WithPyramid(VisionLSTM):
    """The encoder and the rescaling neck of the segmentation model."""

    def __init__(self, **kwargs):
        from mmvssm.openmmlab.necks import RescalePyramid

        super().__init__(**kwargs)
        self.pyramid = RescalePyramid(self.num_features, patch_size=self.stride)

    def forward(self, x):
        return list(self.pyramid(super().forward(x)))


def build(case: dict) -> VisionLSTM:
    kwargs = dict(case['kwargs'])
    builders = {
        'VisionLSTM': first_generation,
        'VisionLSTM2': second_generation,
        'vislstm.VisionLSTM2': training_code,
    }
    if case['official_class'] not in builders:
        raise NotImplementedError(f'official class {case["official_class"]}')
    model = builders[case['official_class']](kwargs, case)
    in_hub_layout = any(key.startswith('blocks.') for key in case['keys'])
    model.hub_generation = (2 if case['official_class'] == 'VisionLSTM2' else 1) if in_hub_layout else None
    return model


def common(kwargs: dict, default_pool: str) -> tuple[dict, str | None, str | None]:
    """Shape, number of classes, mode and pooling, taken out of `kwargs`."""
    channels, *size = kwargs.pop('input_shape', (3, 224, 224))
    output_shape = kwargs.pop('output_shape', (1000,))
    num_classes = output_shape[0] if output_shape else 0
    own = dict(in_chans=channels, img_size=tuple(size), num_classes=num_classes)
    return own, kwargs.pop('mode', 'classifier'), kwargs.pop('pooling', default_pool)


def first_generation(kwargs: dict, case: dict) -> VisionLSTM:
    own, mode, pooling = common(kwargs, 'bilateral_avg')
    own.update(take({'depth': 24, **kwargs}, HUB, dict(alternation=('bidirectional',))))
    own.update(conv_kind='causal1d', conv_kernel_size=4, proj_bias=False, norm_bias=False, **TRAINING_EPS)
    own['post_norm'] = own.pop('legacy_norm', False)
    return classifier(own, mode, pooling)


def second_generation(kwargs: dict, case: dict) -> VisionLSTM:
    own, mode, pooling = common(kwargs, 'bilateral_flatten')
    kwargs.pop('conv_kernel_size', None)  # the package does not pass it on: 3 always
    own.update(take({'depth': 12, **kwargs}, {**HUB, **SECOND}))
    own['depth'] *= 2
    own['head_norm'] = own.pop('legacy_norm', False)
    if mode == 'features' and pooling == 'to_image':
        own.pop('head_norm')
        return VisionLSTM(**own, features='normed', features_only=True)
    return classifier(own, mode, pooling)


def classifier(own: dict, mode: str | None, pooling: str | None) -> VisionLSTM:
    if mode != 'classifier' or pooling not in POOLS:
        raise NotImplementedError(f'mode={mode!r} with pooling={pooling!r}')
    return VisionLSTM(**own, global_pool=POOLS[pooling])


def training_code(kwargs: dict, case: dict) -> VisionLSTM:
    own, mode, pooling = common(kwargs, 'bilateral_flatten')
    taps, post_norm = kwargs.pop('block_indices', None), kwargs.pop('add_post_blocks_norm', True)
    own.update(take({'depth': 24, **kwargs}, {**HUB, **SECOND}), **TRAINING_EPS)
    if mode != 'features':
        return classifier({**own, 'post_norm': post_norm}, mode, pooling)
    if post_norm:
        raise NotImplementedError('a norm behind the taps')
    has_neck = any(key.startswith('postprocessor.') for key in case['keys'])
    return (WithPyramid if has_neck else VisionLSTM)(**own, features_only=True, out_indices=taps)


def to_own_names(state_dict: dict, model: nn.Module) -> dict:
    """The neck's part of a segmentation model gets this project's names; all else is the loader's business."""
    if not hasattr(model, 'pyramid'):
        return state_dict
    neck = {name: value for key, value in state_dict.items() if (name := neck_name(key, model))}
    own = {key.removeprefix('encoder.'): v for key, v in state_dict.items() if key.startswith('encoder.')}
    return {**own, **neck}


def neck_name(key: str, model: nn.Module) -> str | None:
    from mmvssm.openmmlab.necks import neck_state_dict

    found = neck_state_dict({key: None}, model.pyramid)
    return f'pyramid.{next(iter(found))}' if found else None


def run_op(case) -> dict[str, torch.Tensor]:
    """The cell, whose published form is head-major (B, NH, S, DH); inputs as the case's notes say."""
    if case.spec['official_class'] != 'mlstm':
        raise NotImplementedError(f'official class {case.spec["official_class"]}')
    shape, seed, kwargs = tuple(case.spec['input']['shape']), case.spec['input']['seed'], case.spec['kwargs']
    q, k, v = (fill.make_input(shape, seed + n) for n in range(3))
    gates = []
    for n, gate in enumerate(('igate', 'fgate'), 3):
        z = fill.make_input(shape[:3], seed + n)
        gates.append(kwargs[gate]['mean'] + kwargs[gate]['std'] * z)
    inputs = [torch.as_tensor(x).to(case.dtype).requires_grad_() for x in (q, k, v, *gates)]
    h = mlstm(*(x.transpose(1, 2) for x in inputs)).transpose(1, 2)
    case.weighted_sum({'feat0': h}).backward()
    return {'h': h, **{f'grad_{name}': x.grad for name, x in zip('qkvif', inputs)}}


def parameter(model: nn.Module, key: str, attribute: str):
    """The parameter of an official name."""
    if hasattr(model, 'pyramid'):
        key = neck_name(key, model) or key.removeprefix('encoder.')
    elif model.hub_generation is not None:
        key = from_hub(key, has_pairs=model.hub_generation == 2)
    return getattr(model.get_parameter(key), attribute)
