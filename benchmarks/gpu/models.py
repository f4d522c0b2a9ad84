"""Sections `models`, `compiled`, `detectors`: whole models beside others in one process, under timm's column names."""

import contextlib
import time
from collections.abc import Callable
from functools import cache, lru_cache, partial

import torch
from torch import Tensor, nn

import mmvssm
from mmvssm.kernels import use_backend

from .plan import DTYPES, Net
from .session import NotMeasured, Rows, Session

HOWS = ('eager', 'graph')


def rows(session: Session) -> Rows:
    """Dense prediction before classification, bfloat16 before float32, a model's ways of running side by side."""
    plan = session.plan
    for shape in (plan.dense, plan.square):
        for dtype in plan.dtypes:
            for net in plan.nets:
                for how in HOWS:
                    yield name_of(net, shape, dtype, how), partial(measure, session, net, shape, dtype, how)


def compiled_rows(session: Session) -> Rows:
    shape, how = session.plan.dense, 'compile'
    for dtype in session.plan.dtypes:
        for net in session.plan.nets:
            yield name_of(net, shape, dtype, how), partial(measure, session, net, shape, dtype, how)


def name_of(net: Net, shape: tuple[int, int, int], dtype: str, how: str) -> str:
    return f'{net.label}, {shape[0]} x 3 x {shape[1]} x {shape[2]}, {dtype}, {how}'


def measure(session: Session, net: Net, shape: tuple[int, int, int], dtype: str, how: str) -> dict:
    """Forward pass and training step (forward and backward), in timm's columns.

    how: 'eager' and 'compile' are timed as Python launches them, 'graph' as one CUDA graph.
    """
    session.require(*(f'{kind}, {dtype}' for kind in net.kinds))
    batch, *size = shape
    clock = session.clock
    model = create(net, tuple(size)).to(clock.device)
    images = torch.randn(batch, 3, *size, device=clock.device)
    called: Callable[[Tensor], Tensor] = torch.compile(model, dynamic=False) if how == 'compile' else model
    if how == 'compile' and clock.dry:
        called = model
    # weights that autocast keeps would be freed behind a graph's back
    cast = partial(torch.autocast, torch.device(clock.device).type, DTYPES[dtype], cache_enabled=how != 'graph')

    def infer() -> None:
        with torch.no_grad(), cast(enabled=dtype != 'fp32'):
            called(images)

    def train() -> None:
        model.zero_grad(set_to_none=True)
        with cast(enabled=dtype != 'fp32'):
            loss = called(images).float().square().mean()
        loss.backward()

    milliseconds = clock.graph_ms if how == 'graph' else clock.event_ms
    found: dict = {'model': net.name, 'dtype': dtype, 'how': how}
    with use_backend(session.plan.backend) if net.kinds else contextlib.nullcontext():
        for kind, call in (('infer', infer), ('train', train)):
            model.train(kind == 'train')
            if how == 'compile':
                start = time.time()
                call()
                found[f'{kind}_compile_seconds'] = time.time() - start
            ms = milliseconds(call)
            found[f'{kind}_samples_per_sec'] = batch / ms * 1e3
            found[f'{kind}_step_time'] = ms
            found[f'{kind}_batch_size'] = batch
            found[f'{kind}_img_size'] = size[0] if size[0] == size[1] else f'{size[0]}x{size[1]}'
            found[f'{kind}_peak_mib'] = clock.peak_mib(call)
    model.zero_grad(set_to_none=True)
    return {**found, **costs(net, tuple(size))}


@lru_cache(maxsize=1)
def create(net: Net, size: tuple[int, int]) -> nn.Module:
    """A classifier with random weights; the last one is kept."""
    torch.manual_seed(0)
    try:
        import timm
    except ImportError as error:
        return _of_torchvision(net, error)
    if net.name in mmvssm.list_models():
        return mmvssm.create_model(net.name)
    try:
        return timm.create_model(net.name, img_size=size)
    except TypeError:  # takes every size
        return timm.create_model(net.name)


def _of_torchvision(net: Net, error: ImportError) -> nn.Module:
    if not net.torchvision:
        raise NotMeasured(f'not installed: {error}') from error
    try:
        from torchvision import models
    except ImportError as missing:
        raise NotMeasured(f'not installed: {error}; {missing}') from missing
    return models.get_model(net.torchvision, weights=None)


@cache
def costs(net: Net, size: tuple[int, int]) -> dict:
    """Multiply-adds of an image and parameters, in thousands of millions and in millions as timm has them."""
    model = create(net, size)
    found = {'param_count': sum(parameter.numel() for parameter in model.parameters()) / 1e6}
    with contextlib.suppress(Exception):  # timm is missing, or the model knows a trick that the meta device does not
        found['infer_gmacs'] = mmvssm.count_flops(model, (1, 3, *size)) / 1e9
    return found


def detector_rows(session: Session) -> Rows:
    for config in session.plan.detectors:
        yield config, partial(train_detector, session, config)


def train_detector(session: Session, config: str) -> dict:
    """Iterations of training on random images: data preparation on the GPU, losses, gradients, AdamW; bfloat16."""
    try:
        from benchmarks.gpu import detector
    except ImportError as error:
        raise NotMeasured(f'not installed: {error}') from error
    own = 'mmdet::' not in config
    if own:
        session.require('straight scan, bf16' if 'localvmamba' not in config else 'scan by tables, states, bf16')
    iterate, images = detector.iteration(config, session.plan.dense, session.clock.device)
    with use_backend(session.plan.backend) if own else contextlib.nullcontext():
        ms = session.clock.event_ms(iterate)
        return {
            'train_step_time': ms,
            'train_samples_per_sec': images / ms * 1e3,
            'train_peak_mib': session.clock.peak_mib(iterate),
        }
