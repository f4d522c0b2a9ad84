"""Export a model, run the file at five sizes against it, keep the file if they agree."""

import contextlib
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from mmvssm.errors import UsageError

from .check import LIMIT, Runtime, error_of, onnx_runtime, openvino_runtime, pt2_runtime, speed
from .nodes import as_nodes

FORMATS = {'onnx': '.onnx', 'pt2': '.pt2'}
SCANS = ('plain', 'attention')
OPSET = 18


class ExportError(UsageError):
    """A model that cannot be exported, or a file that does not agree with its model."""


@dataclass(frozen=True)
class Exported:
    """A file that was kept.

    Attributes:
        path: of it.
        errors: (B, C, H, W) -> the largest relative error of an output against the model.
        speed: time of the model in torch over that of the file, by runtime.
    """

    path: Path
    errors: dict[tuple[int, ...], float]
    speed: dict[str, float]


def export(
    model: nn.Module,
    path: str | Path,
    *,
    format: str = 'onnx',
    size: tuple[int, int] = (224, 224),
    dynamic: bool = False,
    scan: str = 'plain',
    openvino: bool = False,
    multiple: int = 1,
    outputs: Sequence[str] | None = None,
) -> Exported:
    """Write a model to a file and check it.

    Args:
        model: images (B, 3, H, W) -> a tensor or several.
        path: file to write; it appears only once it was found right.
        format: 'onnx' or 'pt2' (torch.export.save; of one size it needs torch alone, a dynamic one `import
            mmvssm.export` before it is loaded).
        size: height and width: of the images, or of those with which a dynamic file is made.
        dynamic: one file for all sizes and batches; order tables are computed in the graph.
        scan: for ONNX: 'plain' operators, or the 'attention' operator of opset 27.
        openvino: run the file in OpenVINO as well.
        multiple: of which a dynamic model's sizes have to be.
        outputs: names of the outputs; out0, out1, ... by default.

    Raises:
        ExportError: the model does not export, or an output of the file is off by more than 1e-4 of its largest value.
        UsageError: unknown options.
    """
    path = Path(path)
    _check_options(path, format, scan)
    model = model.eval()
    program = _trace(model, size, dynamic, nodes=format == 'onnx' or dynamic)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        draft = Path(folder) / path.name
        runtimes = _write(program, draft, format, scan, outputs, openvino)
        trials = [torch.randn(shape) for shape in shapes(size, dynamic, multiple)]
        errors = _compare(model, runtimes, trials)
        ratios = {runtime.name: speed(model, runtime, trials[0]) for runtime in runtimes}
        os.replace(draft, path)
    return Exported(path, errors, ratios)


def shapes(size: tuple[int, int], dynamic: bool, multiple: int = 1) -> list[tuple[int, int, int, int]]:
    """Five shapes on which a file is held against its model; of one size, five different images."""
    height, width = size
    if not dynamic:
        return [(1, 3, height, width)] * 5
    rough = [(1, 0, 0), (2, 32, 0), (1, -13, 45), (3, -32, 21), (1, 96, 64)]
    near = [(batch, max(height + h, 64), max(width + w, 64)) for batch, h, w in rough]
    return [(batch, 3, h // multiple * multiple, w // multiple * multiple) for batch, h, w in near]


def _check_options(path: Path, format: str, scan: str) -> None:
    if format not in FORMATS:
        raise UsageError(f'format={format!r} is not known; allowed: {", ".join(FORMATS)}')
    if scan not in SCANS:
        raise UsageError(f'scan={scan!r} is not known; allowed: {", ".join(SCANS)}')
    if path.suffix != FORMATS[format]:
        raise UsageError(f'{path}: the name of such a file ends with {FORMATS[format]}')


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield


def _trace(model: nn.Module, size: tuple[int, int], dynamic: bool, nodes: bool) -> ExportedProgram:
    image = torch.randn(2 if dynamic else 1, 3, *size)
    sizes = ({0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO},) if dynamic else None
    try:
        with as_nodes() if nodes else contextlib.nullcontext(), torch.no_grad(), _quiet():
            return torch.export.export(model, (image,), dynamic_shapes=sizes, strict=False)
    except UsageError:
        raise
    except Exception as error:
        raise ExportError(f'torch.export cannot follow this model: {str(error).strip().splitlines()[0]}') from error


def _write(
    program: ExportedProgram,
    draft: Path,
    format: str,
    scan: str,
    outputs: Sequence[str] | None,
    openvino: bool,
) -> list[Runtime]:
    """Writes the file; returns what runs it."""
    if format == 'pt2':
        torch.export.save(program, draft)
        return [pt2_runtime(draft)]
    from . import onnx_orders, onnx_scan

    table = {
        torch.ops.mmvssm.scan_node.default: onnx_scan.FORMS[scan],
        torch.ops.mmvssm.orders_node.default: onnx_orders.orders_node,
        torch.ops.aten.remainder.Scalar: onnx_orders.remainder,
    }
    count = len(program.graph_signature.user_outputs)
    names = list(outputs or (f'out{i}' for i in range(count)))
    try:
        with _quiet():
            written = torch.onnx.export(
                program, dynamo=True, opset_version=OPSET, custom_translation_table=table, verbose=False, optimize=False
            )
    except torch.onnx.OnnxExporterError as error:
        why = next((line for line in str(error).splitlines() if 'translating' in line), str(error).splitlines()[0])
        raise ExportError(f'ONNX cannot say what this model does: {why[:200]}') from error
    assert written is not None
    for value, name in zip(written.model.graph.outputs, names, strict=True):
        value.name = name
    written.model.graph.inputs[0].name = 'image'
    if scan == 'attention':
        written.model.opset_imports[''] = 27
    written.save(str(draft))
    return [onnx_runtime(draft), *([openvino_runtime(draft)] if openvino else [])]


def _compare(model: nn.Module, runtimes: list[Runtime], trials: list[Tensor]) -> dict[tuple[int, ...], float]:
    errors: dict[tuple[int, ...], float] = {}
    for image in trials:
        with torch.no_grad():
            wanted = model(image)
        wanted = [wanted] if isinstance(wanted, Tensor) else list(wanted)
        for runtime in runtimes:
            shape = tuple(image.shape)
            try:
                found = runtime.run(image)
            except Exception as error:
                why = str(error).strip().splitlines()[0][:200]
                raise ExportError(f'{runtime.name} does not run the file on {shape}: {why}') from error
            worst = max(error_of(one, other) for one, other in zip(found, wanted, strict=True))
            if not worst <= LIMIT:
                raise ExportError(f'{runtime.name} on {shape}: an output is off by {worst:.1e}, more than {LIMIT:.0e}')
            errors[shape] = max(worst, errors.get(shape, 0.0))
    return errors
