"""mmengine, mmcv, mmdet and mmseg, upstream or the continuation, import and run with what compat.py puts in place."""

import importlib
import os
import sys

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, load_checkpoint

from mmvssm.openmmlab import compat
from mmvssm.weights import CheckpointError

from . import toy

compat.install()


# --- imports ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes a package of one module, importable for the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    written = []

    def write(name, text):
        (tmp_path / f'{name}.py').write_text(text)
        written.append(name)
        importlib.invalidate_caches()

    yield write
    for name in written:
        sys.modules.pop(name, None)


def test_version_assert_on_mmcv_is_passed(package, monkeypatch):
    import mmcv

    monkeypatch.setattr(mmcv, '__version__', '9.0.0')
    package('fussy', 'import mmcv\nassert mmcv.__version__ < "2.2.0"\nseen = mmcv.__version__')
    compat.import_despite_version('fussy')
    assert sys.modules['fussy'].seen < '2.2.0'
    assert mmcv.__version__ == '9.0.0'


def test_patch_waits_for_the_import(package):
    package('late', 'value = 1')
    compat.after_import('late', lambda module: setattr(module, 'value', 2))
    assert 'late' not in sys.modules
    assert importlib.import_module('late').value == 2
    assert importlib.reload(sys.modules['late']).value == 1  # patched once, and out of the import system again


def test_patch_of_an_imported_module_is_immediate(package):
    package('early', 'value = 1')
    module = importlib.import_module('early')
    compat.after_import('early', lambda module: setattr(module, 'value', 2))
    assert module.value == 2


@pytest.mark.parametrize('name', ['mmdet.apis', 'mmseg.apis', 'mmdet.evaluation', 'mmseg.evaluation'])
def test_package_imports(name):
    importlib.import_module(name)


# --- checkpoints ------------------------------------------------------------------------------------------------------


class Call:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.fixture
def training_checkpoint(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    scores = {'loss': HistoryBuffer([0.5, 0.25], [1, 1])}
    hub = dict(log_scalars=scores, runtime_info=dict(best=np.float64(0.5), iter=np.int64(3)), resumed_keys={})
    palette = np.arange(6, dtype=np.uint8).reshape(2, 3)
    state = dict(torch.nn.Linear(3, 2).state_dict())
    torch.save(dict(state_dict=state, message_hub=hub, meta=dict(dataset_meta=dict(palette=palette))), path)
    return path


def test_training_checkpoint_keeps_its_log_buffers(training_checkpoint):
    content = CheckpointLoader.load_checkpoint(str(training_checkpoint), map_location='cpu')
    buffer = content['message_hub']['log_scalars']['loss']
    assert isinstance(buffer, HistoryBuffer)
    assert buffer.current() == 0.25
    assert content['message_hub']['runtime_info'] == dict(best=0.5, iter=3)
    assert content['meta']['dataset_meta']['palette'].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_mmengine_loads_weights_through_it(training_checkpoint):
    model = torch.nn.Linear(3, 2)
    content = load_checkpoint(model, str(training_checkpoint), map_location='cpu')
    assert torch.equal(model.weight, content['state_dict']['weight'])


@pytest.mark.parametrize('where', ['state_dict', 'meta', 'payload'])
def test_hostile_checkpoint_runs_nothing(where, training_checkpoint, tmp_path):
    trace = tmp_path / 'trace'
    content = torch.load(training_checkpoint, weights_only=False)
    content.setdefault(where, {})['x'] = Call(os.mkdir, str(trace))
    torch.save(content, training_checkpoint)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(torch.nn.Linear(3, 2), str(training_checkpoint))
    assert not trace.exists()
    assert str(caught.value).count('\n') <= 1


def test_getattr_of_a_checkpoint_reaches_statistics_only(training_checkpoint):
    content = torch.load(training_checkpoint, weights_only=False)
    content['x'] = Call(getattr, HistoryBuffer, '__init__')
    torch.save(content, training_checkpoint)
    content = CheckpointLoader.load_checkpoint(str(training_checkpoint))
    assert not callable(content['x'])


def test_truncated_checkpoint_is_named(training_checkpoint):
    training_checkpoint.write_bytes(training_checkpoint.read_bytes()[:900])
    with pytest.raises(CheckpointError, match=r'epoch_1\.pth'):
        load_checkpoint(torch.nn.Linear(3, 2), str(training_checkpoint))


def test_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r'nowhere\.pth'):
        load_checkpoint(torch.nn.Linear(3, 2), str(tmp_path / 'nowhere.pth'))


def test_tensors_move_where_asked(training_checkpoint):
    content = CheckpointLoader.load_checkpoint(str(training_checkpoint), map_location='meta')
    assert content['state_dict']['weight'].device.type == 'meta'


def test_torchvision_urls_are_read_safely_too(training_checkpoint, monkeypatch):
    from mmengine.runner import checkpoint

    monkeypatch.setattr(checkpoint, 'get_torchvision_models', lambda: {'tiny': str(training_checkpoint)})
    assert 'state_dict' in CheckpointLoader.load_checkpoint('torchvision://tiny')


# --- several processes without a GPU ----------------------------------------------------------------------------------


def test_launcher_works_without_a_gpu(tmp_path, monkeypatch):
    variables = dict(
        RANK=0, LOCAL_RANK=0, WORLD_SIZE=1, MASTER_ADDR='127.0.0.1', MASTER_PORT=29000 + os.getpid() % 1000
    )
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    runner = toy.runner(tmp_path, dict(checkpoint=None), launcher='pytorch')  # its default backend is nccl
    try:
        assert torch.distributed.get_backend() == 'gloo'
        assert isinstance(runner.model, torch.nn.parallel.DistributedDataParallel)
        runner.train()
        assert runner.iter == 6
    finally:
        torch.distributed.destroy_process_group()


# --- coordinates under automatic mixed precision ----------------------------------------------------------------------


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=['fp16', 'bf16'])
def test_roi_extractor_does_not_round_coordinates(dtype):
    from mmdet.models.roi_heads import SingleRoIExtractor

    extractor = SingleRoIExtractor(
        roi_layer=dict(type='RoIAlign', output_size=3, sampling_ratio=0), out_channels=2, featmap_strides=[4, 8]
    )
    generator = torch.Generator().manual_seed(0)
    feats = [torch.randn(1, 2, side, side, generator=generator).to(dtype) for side in (336, 168)]
    rois = torch.tensor([[0, 1201.7, 1103.3, 1302.9, 1251.4], [0, 3.1, 5.2, 901.7, 803.3]])
    pooled = extractor([f.clone() for f in feats], rois)
    assert torch.equal(pooled, extractor([f.float() for f in feats], rois))
