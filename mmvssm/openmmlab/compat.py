"""What the OpenMMLab packages, upstream or the continuation, need to import and run on current PyTorch.

`install()` is called when `mmvssm.openmmlab` is imported, before anything of mmdet or mmseg is.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.abc
import importlib.util
import pickle
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch
from mmengine._strategy.fsdp import FSDPStrategy
from mmengine.device import get_device
from mmengine.dist import utils as dist_utils
from mmengine.logging import HistoryBuffer
from mmengine.model import MMDistributedDataParallel
from mmengine.model.wrappers import MMFullyShardedDataParallel
from mmengine.runner import CheckpointLoader, checkpoint
from torch import Tensor
from torch.distributed.fsdp import FullyShardedDataParallel

from mmvssm.errors import UsageError
from mmvssm.weights import local_path, read_checkpoint

from . import ops, panoptic

ROI_EXTRACTOR = 'mmdet.models.roi_heads.roi_extractors.single_level_roi_extractor'
DINO = 'mmdet.models.detectors.dino'
LVIS = 'lvis.eval'
SEGMENTOR = 'mmseg.models.segmentors.encoder_decoder'


@functools.cache
def install() -> None:
    """Put everything of this module in place, for the packages that are installed; idempotent."""
    if importlib.util.find_spec('mmcv') is not None:
        ops.install()
    panoptic.install()
    for package in ('mmdet', 'mmseg'):
        if importlib.util.find_spec(package) is not None:
            import_despite_version(package)
    read_checkpoints_safely()
    distribute_without_gpus()
    resume_sharded()
    after_import(ROI_EXTRACTOR, lambda module: keep_coordinates(module.SingleRoIExtractor))
    after_import(DINO, lambda module: refuse_few_tokens(module.DINO))
    after_import(LVIS, keep_numpys_float)
    after_import(SEGMENTOR, lambda module: window_sizes(module.EncoderDecoder))


def import_despite_version(package: str) -> None:
    """Import mmdet or mmseg next to an mmcv that is newer than the newest they knew.

    Both assert `mmcv < 2.2.0` on import, and work with later ones: nothing that they use has changed.
    """
    try:
        importlib.import_module(package)
    except AssertionError:
        import mmcv

        installed = mmcv.__version__
        mmcv.__version__ = '2.1.0'
        try:
            importlib.import_module(package)
        finally:
            mmcv.__version__ = installed


# --- checkpoints ------------------------------------------------------------------------------------------------------


def read_checkpoints_safely() -> None:
    """Make mmengine's `load_checkpoint` and `resume` read files and URLs without running what they pickle.

    Since torch 2.6 upstream fails on its own training checkpoints, and the continuation falls back to plain pickle.
    """
    CheckpointLoader.register_scheme(prefixes=['', 'http://', 'https://'], loader=load_from_file_or_url, force=True)
    checkpoint.load_from_http = load_from_file_or_url  # what the torchvision:// and open-mmlab:// schemes end in


def load_from_file_or_url(filename: str, map_location=None) -> dict:
    """The content of a checkpoint file or URL, with mmengine's log buffers restored.

    Args:
        map_location: a device to move the tensors to; they stay on the CPU for None or a function.

    Raises:
        mmvssm.weights.CheckpointError: two lines that say what the file is instead.
    """
    content = _with_log_buffers(read_checkpoint(filename), filename)
    if 'state_dict' in content or 'model' in content:
        content.setdefault('meta', {})  # mmseg's `init_model` asks for it, which other trainers' files lack
    if isinstance(map_location, str | torch.device) and torch.device(map_location).type != 'cpu':
        content = _move(content, torch.device(map_location))
    return content


def _with_log_buffers(content: dict, filename: str) -> dict:
    """The content of a run's checkpoint, which has been read and found harmless, with its log buffers restored."""
    if 'message_hub' not in content:
        return content
    with torch.serialization.safe_globals(_training_state_types()), contextlib.suppress(Exception):
        return torch.load(local_path(filename), map_location='cpu', weights_only=True)
    return content  # it holds something else beside them


@functools.cache
def _training_state_types() -> list:
    """What mmengine pickles beside tensors: its log buffers, numpy arrays and numbers."""
    dtypes: set = {type(np.dtype(code)) for code in np.typecodes['AllInteger'] + np.typecodes['AllFloat'] + '?U'}
    functions = [
        (example.__reduce__()[0], f'numpy.{core}.multiarray.{name}')
        for name, example in (('_reconstruct', np.zeros(0)), ('scalar', np.float64(0)))
        for core in ('core', '_core')  # numpy 1 and numpy 2
    ]
    return [HistoryBuffer, np.ndarray, np.dtype, *dtypes, *functions, (_statistic, 'builtins.getattr')]


def _statistic(owner: type, name: str) -> Callable:
    """Stands for `getattr` in checkpoints: a log buffer pickles its statistics as getattr(HistoryBuffer, 'mean')."""
    if owner is not HistoryBuffer or name not in HistoryBuffer()._statistics_methods:
        raise pickle.UnpicklingError(f'asks for attribute {name!r} of {owner!r}')
    return getattr(owner, name)


def _move(value, device: torch.device):
    """Move every tensor; dicts are changed in place, since state dicts carry attributes."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        for key in value:
            value[key] = _move(value[key], device)
    elif type(value) in (list, tuple):
        return type(value)(_move(item, device) for item in value)
    return value


# --- several processes without a GPU ----------------------------------------------------------------------------------


def distribute_without_gpus() -> None:
    """Let `--launcher pytorch` work without a GPU, through gloo; mmengine takes for granted that there is one."""
    init_with_gpus, wrap = dist_utils._init_dist_pytorch, MMDistributedDataParallel.__init__
    shard = MMFullyShardedDataParallel.__init__

    def init_dist_pytorch(backend: str, init_backend: str = 'torch', **kwargs) -> None:
        if get_device() in ('cpu', 'mps'):
            torch.distributed.init_process_group('gloo' if backend == 'nccl' else backend, **kwargs)
        else:
            init_with_gpus(backend, init_backend=init_backend, **kwargs)

    @functools.wraps(wrap)
    def wrap_where_it_is(self, module, *args, **kwargs):
        if all(parameter.device.type == 'cpu' for parameter in module.parameters()):
            kwargs.pop('device_ids', None)
        wrap(self, module, *args, **kwargs)

    @functools.wraps(shard)
    def shard_where_it_is(self, module, *args, **kwargs):
        if get_device() == 'cpu':
            kwargs['device_id'] = torch.device('cpu')  # mmengine gives the number of a GPU
        shard(self, module, *args, **kwargs)

    dist_utils._init_dist_pytorch = init_dist_pytorch
    MMDistributedDataParallel.__init__ = wrap_where_it_is
    MMFullyShardedDataParallel.__init__ = shard_where_it_is


def resume_sharded() -> None:
    """Let mmengine's FSDPStrategy save and load an optimizer's state.

    torch has changed the order of the arguments of the loading function. On a CPU it saves every state of a parameter
    as the last one, since "offload to the CPU" takes the place of a copy there; so nothing is offloaded.
    """
    configure = FSDPStrategy._init_state_dict_cfg

    def configured(self, state_dict_cfg) -> None:
        configure(self, state_dict_cfg)
        if get_device() == 'cpu' and hasattr(self.optim_state_dict_config, 'offload_to_cpu'):
            self.optim_state_dict_config.offload_to_cpu = False

    def load_optim_state_dict(self, state_dict: dict) -> None:
        own = FullyShardedDataParallel.optim_state_dict_to_load(
            model=self.model, optim=self.optim_wrapper.optimizer, optim_state_dict=state_dict
        )
        self.optim_wrapper.load_state_dict(own)

    FSDPStrategy._init_state_dict_cfg = configured
    FSDPStrategy.load_optim_state_dict = load_optim_state_dict


# --- coordinates under automatic mixed precision ----------------------------------------------------------------------


def keep_coordinates(extractor: Any) -> None:
    """Let mmdet's SingleRoIExtractor pool half-precision features with float32 coordinates.

    It rounds the regions to the features' type, which in bfloat16 moves a corner at 1,333 pixels by up to 4.
    """
    forward = extractor.forward

    @functools.wraps(forward)
    def with_float32(self, feats, *args, **kwargs):
        halves = (torch.float16, torch.bfloat16)
        return forward(self, tuple(x.float() if x.dtype in halves else x for x in feats), *args, **kwargs)

    extractor.forward = with_float32


# --- images that are too small ----------------------------------------------------------------------------------------


def refuse_few_tokens(detector: Any) -> None:
    """Let mmdet's DINO, whose queries are the best of the encoder's tokens, say so where an image has fewer."""
    choose = detector.pre_decoder

    @functools.wraps(choose)
    def choose_among_enough(self, memory, *args, **kwargs):
        if memory.shape[1] < self.num_queries:
            raise UsageError(
                f'model.num_queries={self.num_queries} is more than the {memory.shape[1]} tokens of an image: '
                'give larger images, or fewer queries'
            )
        return choose(self, memory, *args, **kwargs)

    detector.pre_decoder = choose_among_enough


# --- LVIS -------------------------------------------------------------------------------------------------------------


def keep_numpys_float(module: Any) -> None:
    """Let the evaluation of LVIS 0.5 find `np.float`, Python's float, which numpy 1.24 left out."""
    names = ModuleType('numpy')
    vars(names).update(vars(module.np), float=float)
    module.np = names


# --- sliding windows --------------------------------------------------------------------------------------------------


def window_sizes(segmentor: Any) -> None:
    """Let heads see a window's size where mmseg slides one: its Mask2Former makes masks of `pad_shape`, the image's."""
    slide = segmentor.slide_inference

    @functools.wraps(slide)
    def slide_without(self, inputs, batch_img_metas):
        metas = [{key: value for key, value in meta.items() if key != 'pad_shape'} for meta in batch_img_metas]
        return slide(self, inputs, metas)

    segmentor.slide_inference = slide_without


def after_import(name: str, patch: Callable) -> None:
    """Call `patch(module)` once module `name` is imported: now if it is, without importing it otherwise."""
    if name in sys.modules:
        patch(sys.modules[name])
    else:
        sys.meta_path.insert(0, _AfterImport(name, patch))


class _AfterImport(importlib.abc.MetaPathFinder):
    def __init__(self, name: str, patch: Callable):
        self.name, self.patch = name, patch

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_patch(module):
            execute(module)
            self.patch(module)

        spec.loader.exec_module = execute_and_patch  # type: ignore[method-assign]
        return spec
