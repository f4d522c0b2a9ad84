"""Checkpoint files for the tests: as trainers write them, and broken or hostile ones."""

import argparse
import collections
import io
import pickle
import sys
import types

import numpy as np
import torch

FORMATS = {'zip': True, 'legacy': False}  # torch's two formats: value of _use_new_zipfile_serialization


def small_state(scale=1.0):
    """A few tensors of several kinds: names as a backbone's, values that follow from `scale`."""
    torch.manual_seed(0)
    return collections.OrderedDict(
        [
            ('patch_embed.0.weight', scale * torch.randn(8, 3, 4, 4)),
            ('layers.0.blocks.0.op.A_logs', scale * torch.randn(32, 1)),
            ('layers.0.blocks.0.op.out_proj.weight', scale * torch.randn(8, 8).t()),  # strides other than contiguous
            ('layers.0.norm.running_mean', scale * torch.randn(8, dtype=torch.float64)),
            ('layers.0.norm.num_batches_tracked', torch.tensor(7)),
            ('classifier.head.weight', (scale * torch.randn(5, 8)).half()),
            ('classifier.head.bias', (scale * torch.randn(5)).bfloat16()),
        ]
    )


def save(path, obj, kind='zip'):
    """torch.save in one of FORMATS."""
    torch.save(obj, path, _use_new_zipfile_serialization=FORMATS[kind])
    return path


def module_of(name, *classes):
    """Context: a module `name` that holds `classes` while a file is written, and does not exist when it is read."""
    return _Module(name, classes)


class _Module:
    def __init__(self, name, classes):
        self.name, self.classes = name, classes

    def __enter__(self):
        parts = self.name.split('.')
        self.names = ['.'.join(parts[: i + 1]) for i in range(len(parts))]
        self.before = {name: sys.modules.get(name) for name in self.names}
        for name in self.names:
            sys.modules[name] = types.ModuleType(name)
        for cls in self.classes:
            cls.__module__, cls.__qualname__ = self.name, cls.__name__
            setattr(sys.modules[self.name], cls.__name__, cls)

    def __exit__(self, *exc):
        for name, module in self.before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


class CfgNode(dict):
    """As yacs.config.CfgNode: a dict with attributes."""


class HistoryBuffer:
    """As mmengine's: arrays, and functions found by getattr."""

    def __init__(self):
        self.history = np.arange(3.0)
        self.methods = {'min': HistoryBuffer.min}

    def min(self):
        return self.history.min()


class ConfigDict(dict):
    """As mmengine's ConfigDict."""


def vmamba_training(path, kind):
    """What VMamba's trainer saves: weights and averaged weights, optimizer, a pickled yacs configuration."""
    with module_of('yacs.config', CfgNode):
        config = CfgNode(MODEL=CfgNode(TYPE='vssm'), AMP=True)
        config.__dict__['__immutable__'] = False
        plain, averaged = small_state(1.0), small_state(2.0)
        optimizer = {'state': {0: {'exp_avg': torch.zeros(3)}}, 'param_groups': [{'lr': 1e-3}]}
        content = {
            'model': plain,
            'optimizer': optimizer,
            'epoch': 12,
            'max_accuracy': np.float64(82.5),
            'config': config,
        }
        return save(path, {**content, 'model_ema': averaged}, kind)


def vim_training(path, kind):
    """What Vim's (DeiT's) trainer saves, argparse.Namespace included."""
    content = {'model': small_state(1.0), 'model_ema': small_state(2.0), 'args': argparse.Namespace(lr=0.1), 'epoch': 3}
    return save(path, content, kind)


def mmengine_detector(path, kind):
    """What mmengine saves for a detector: backbone, neck, message hub with log buffers."""
    state = {f'backbone.{name}': value for name, value in small_state().items()}
    state['neck.convs.0.weight'] = torch.zeros(2, 2)
    with module_of('mmengine.logging.history_buffer', HistoryBuffer), module_of('mmengine.config.config', ConfigDict):
        hub = {
            'log_scalars': {'loss': HistoryBuffer()},
            'runtime_info': {'dataset_meta': ConfigDict(classes=('a', 'b'))},
        }
        return save(path, {'meta': {'epoch': 12}, 'state_dict': state, 'message_hub': hub}, kind)


class Attack:
    """Pickles as a call of `function(*args)`."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def raw_zip(path, payload: bytes):
    """A torch zip archive whose data.pkl is `payload`."""
    import zipfile

    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('archive/data.pkl', payload)
        archive.writestr('archive/version', '3\n')
    return path


def raw_legacy(path, payload: bytes):
    """A file of torch's older stream whose object is `payload`."""
    stream = io.BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {'protocol_version': 1001, 'little_endian': True, 'type_sizes': {}}):
        pickle.dump(value, stream, protocol=2)
    stream.write(payload)
    pickle.dump([], stream, protocol=2)
    path.write_bytes(stream.getvalue())
    return path
