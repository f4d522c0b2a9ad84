"""Measuring several models by turns.

On machines whose speed drifts, two models can only be compared if they take turns: each round times every model once,
and the ratio to the first is that of the same round. A model whose output is not finite, not the same twice, or (of
those with kernels of this project) not the reference's is not timed.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

import mmvssm
from mmvssm.flops import FlopTerms
from mmvssm.kernels import use_backend
from mmvssm.testing import relative_rms

from .memory import peak_mib
from .subject import Size, Subject, leaves

WARM_UP = 2  # calls before any is timed
LIMITS = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.05}  # relative, whole models against the reference
CHECK_SIDE = 64  # pixels a side of the image on which kernels are held against the reference


@dataclass
class Row:
    """A model at a size.

    Attributes:
        name, size, batch: what was run; size is (height, width).
        params: number of parameters.
        terms: multiply-adds of one image as published, by module and operator.
        as_run: multiply-adds of one image as they run here.
        activations: elements that convolutions and linear layers put out, of one image.
        times: seconds of a step in each round.
        ratio: median over the rounds of this model's time to the first model's.
        peak: MiB that a step needs beyond the weights.
        wrong: why it was not timed, else ''.
    """

    name: str
    size: Size
    batch: int
    params: int
    terms: FlopTerms
    as_run: int
    activations: int
    times: list[float] = field(default_factory=list)
    ratio: float = float('nan')
    peak: float = float('nan')
    wrong: str = ''

    @property
    def seconds(self) -> float:
        """The median step."""
        return statistics.median(self.times) if self.times else float('nan')


@dataclass(frozen=True)
class Setting:
    """How models are run.

    Attributes:
        batch: images a step.
        device: 'cpu', 'cuda', ...
        dtype: float32, or bfloat16 and float16 by autocast.
        compiled: by torch.compile.
        train: forward and backward, else forward alone.
        rounds: timed steps of each model.
    """

    batch: int = 1
    device: str = 'cpu'
    dtype: torch.dtype = torch.float32
    compiled: bool = False
    train: bool = False
    rounds: int = 10


def profile(makers: Sequence[Callable[[], Subject]], size: Size, setting: Setting) -> list[Row]:
    """Measure models at one size, by turns.

    makers: each makes a model; all of them are held at once.
    """
    images = torch.randn(setting.batch, 3, *size, generator=torch.Generator().manual_seed(0)).to(setting.device)
    rows, steps = [], []
    for make in makers:
        subject = make()
        row = describe(subject, size, setting.batch)
        subject.model.to(setting.device)
        step = _step(subject, images, setting)
        row.wrong = _wrong(subject, step, images, setting)
        rows.append(row)
        steps.append(step)
    _time(rows, steps, setting)
    return rows


def describe(subject: Subject, size: Size, batch: int = 1) -> Row:
    """Parameters and multiply-adds, of shapes alone."""
    shape = (1, 3, *size)
    terms = mmvssm.flop_terms(subject.counted, shape)
    as_run = mmvssm.count_flops(subject.counted, shape, mlstm='as_run')
    return Row(subject.name, size, batch, subject.params, terms, as_run, _activations(subject.counted, shape))


def _activations(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Elements that convolutions and linear layers put out in one forward pass, counted on the meta device."""
    counted = 0

    def count(module: nn.Module, inputs, output: Tensor) -> None:
        nonlocal counted
        counted += output.numel()

    layers = [m for m in model.modules() if isinstance(m, nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        mmvssm.count_flops(model, shape)  # type: ignore[arg-type]
    finally:
        for hook in hooks:
            hook.remove()
    return counted


def _step(subject: Subject, images: Tensor, setting: Setting) -> Callable[[], object]:
    autocast = torch.autocast(images.device.type, setting.dtype, enabled=setting.dtype != torch.float32)
    infer, train = subject.infer, subject.train
    if setting.compiled:
        infer, train = torch.compile(infer, dynamic=False), torch.compile(train, dynamic=False)

    def infer_once() -> object:
        with torch.inference_mode(), autocast:
            return infer(images)

    def train_once() -> object:
        with autocast:
            loss = train(images)
        loss.backward()
        subject.model.zero_grad(set_to_none=True)
        return loss.detach()

    return train_once if setting.train else infer_once


def _wrong(subject: Subject, step: Callable[[], object], images: Tensor, setting: Setting) -> str:
    """Why a model must not be timed."""
    first, second = leaves(step()), leaves(step())
    if not all(bool(one.isfinite().all()) for one in first):
        return 'its output is not finite'
    if any(a.shape != b.shape or relative_rms(a, b) > LIMITS[setting.dtype] for a, b in zip(first, second)):
        return 'two runs differ'
    if not subject.own:
        return ''
    small = images[:1, :, :CHECK_SIDE, :CHECK_SIDE]
    backbones = [m for m in subject.model.modules() if isinstance(m, mmvssm.backbones.Backbone)]
    with torch.inference_mode():
        found = leaves(backbones[0](small))
        with use_backend('reference'):
            wanted = leaves(backbones[0](small))
    error = max(relative_rms(a, b) for a, b in zip(found, wanted, strict=True))
    return '' if error <= LIMITS[torch.float32] else f'its kernels differ from the reference by {error:.1e}'


def _time(rows: list[Row], steps: list[Callable[[], object]], setting: Setting) -> None:
    right = [(row, step) for row, step in zip(rows, steps) if not row.wrong]
    for row, step in right:
        for _ in range(WARM_UP):
            step()
        row.peak = peak_mib(step, setting.device)
    for _ in range(setting.rounds):
        for row, step in right:
            row.times.append(_once(step, setting.device))
    if right and right[0][0] is rows[0]:
        for row, _ in right:
            row.ratio = statistics.median(own / first for own, first in zip(row.times, rows[0].times))


def _once(step: Callable[[], object], device: str) -> float:
    start = time.perf_counter()
    step()
    if device.startswith('cuda'):
        torch.cuda.synchronize()
    return time.perf_counter() - start
