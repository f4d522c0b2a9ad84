"""What an unknown checkpoint file holds, and whether it is the published file that it should be."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from .content import tensors_in
from .download import file_digest
from .errors import CheckpointError, listed, naming, place, quoted, shown
from .inert import Inert
from .match import Weights, unwrap
from .published import PUBLISHED, Checkpoint
from .read import sniff
from .source import read_checkpoint

FORMATS = {'zip': 'torch (zip archive)', 'legacy': 'torch (older stream)', 'safetensors': 'safetensors'}


def table(checkpoints: list[Checkpoint], urls: bool = False) -> str:
    """One line a checkpoint: its name, licence and main figures; with `urls` also address and remark."""
    width = max((len(c.name) for c in checkpoints), default=0)
    lines = []
    for c in checkpoints:
        figures = ', '.join(f'{name} {value}' for name, value in c.metrics.items() if name[-2:] not in ('50', '75'))
        lines.append(f'{c.name:{width}}  {c.license:18}  {figures}' + (' (unverified)' if c.unverified else ''))
        if urls:
            lines += [f'{"":{width}}  {text}' for text in (c.url, c.remark) if text]
    return '\n'.join(lines)


def describe(path: Path) -> tuple[dict[str, str], Weights]:
    """What a file is, as label -> text in the order to be shown, and the weights that it holds.

    Raises:
        CheckpointError: the file cannot be read or holds no weights.
    """
    content = read_checkpoint(path)
    with naming(path):
        weights = unwrap(content)
    facts = {'file': f'{place(path)} ({_amount(path.stat().st_size, "B")})', 'format': FORMATS[sniff(path)]}
    if weights.wrapper:
        facts['content'] = '\n'.join(f'{shown(key)}: {_summary(value)}' for key, value in content.items())
    where = f'under {quoted(weights.wrapper)}' if weights.wrapper else 'a bare state dict'
    facts['weights'] = where + (f', names without {quoted(weights.prefix)}' if weights.prefix else '')
    kinds = Counter(str(value.dtype).removeprefix('torch.') for value in weights.values())
    facts['tensors'] = f'{len(weights)} ({", ".join(f"{count} {kind}" for kind, count in kinds.most_common())})'
    facts['parameters'] = f'{weights.num_params:,}'
    if weights.dropped:
        facts['left out'] = f'{len(weights.dropped)} entries: {listed(weights.dropped)}'
    if bad := not_finite(weights):
        facts['warning'] = f'{len(bad)} tensors hold NaN or infinity: {listed(bad)}'
    published = [c.name for c in PUBLISHED.values() if c.num_params == weights.num_params]
    if published:
        facts['same size as'] = ', '.join(published)
    return facts, weights


def verify(path: Path, checkpoint: Checkpoint, identify: Callable[[dict], list[str]]) -> None:
    """Checks that a file is a published checkpoint.

    No authors give checksums, so the content is looked at: readable and undamaged, weights present and finite, their
    number as it should be, and that of the right variant.

    Args:
        path: the file.
        checkpoint: the record that it should be.
        identify: state dict -> names of the variants that it fits (the models are not known here).

    Raises:
        CheckpointError: it is another, and says what speaks against it.
    """
    content = read_checkpoint(path)
    with naming(path):
        weights = unwrap(content)
    if checkpoint.sha256 and (found := file_digest(path)) != checkpoint.sha256:
        problem = f'its SHA-256 is {found}, not {checkpoint.sha256}'
    elif checkpoint.model not in (fits := identify(weights)):
        problem = f'it fits {" or ".join(fits) or "no registered variant"}, not {checkpoint.model}'
    elif checkpoint.num_params != weights.num_params:
        problem = f'it holds {weights.num_params:,} parameters, not {checkpoint.num_params:,}'
    elif bad := not_finite(weights):
        problem = f'{len(bad)} tensors hold NaN or infinity ({listed(bad, 1)})'
    else:
        return
    raise CheckpointError(f'{place(path)} is not {checkpoint.name}: {problem}.')


def not_finite(weights: Weights) -> list[str]:
    """Names of the tensors that hold NaN or infinity."""
    return [
        name for name, value in weights.items() if value.is_floating_point() and not torch.isfinite(value).all().item()
    ]


def _summary(value: Any) -> str:
    count, size = tensors_in(value)
    if isinstance(value, torch.Tensor):
        return f'a tensor of {_amount(size)} elements'
    if count:
        return f'{count} tensors, {_amount(size)} elements'
    if isinstance(value, Inert):
        return repr(value)[1:-1].replace(', not loaded', ' (not loaded)')
    if isinstance(value, (dict, list, tuple)):
        return f'{type(value).__name__} of {len(value)} entries'
    return quoted(value)


def _amount(count: int, unit: str = '') -> str:
    for factor, letter in ((1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
        if count >= factor:
            return f'{count / factor:.1f} {letter}{unit}'
    return f'{count} {unit}'.rstrip()
