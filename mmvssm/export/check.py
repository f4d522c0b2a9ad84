"""What runs an exported file, to hold it against its model."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mmvssm.errors import UsageError

LIMIT = 1e-4  # of the largest value of an output
ROUNDS = 5


@dataclass(frozen=True)
class Runtime:
    """A file, loaded.

    Attributes:
        name: of the runtime.
        run: an image batch -> the outputs.
    """

    name: str
    run: Callable[[Tensor], list[Tensor]]


def onnx_runtime(path: Path) -> Runtime:
    """ONNX Runtime on the CPU, with as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])

    def run(image: Tensor) -> list[Tensor]:
        return [torch.from_numpy(one) for one in session.run(None, {'image': image.numpy()})]

    return Runtime('onnxruntime', run)


def openvino_runtime(path: Path) -> Runtime:
    """OpenVINO on the CPU.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import openvino
    except ImportError:
        raise UsageError('OpenVINO is not installed: pip install "mmvssm[openvino]"') from None
    try:
        model = openvino.Core().compile_model(str(path), 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
    except RuntimeError as error:
        why = str(error).strip().splitlines()[-1].lstrip('- ')
        raise UsageError(f'OpenVINO cannot read the file: {why}') from error

    def run(image: Tensor) -> list[Tensor]:
        found = model(image.numpy())
        return [torch.from_numpy(found[i].copy()) for i in range(len(model.outputs))]

    return Runtime('openvino', run)


def pt2_runtime(path: Path) -> Runtime:
    """torch.export's own file."""
    program = torch.export.load(path).module()

    def run(image: Tensor) -> list[Tensor]:
        with torch.no_grad():
            found = program(image)
        return [found] if isinstance(found, Tensor) else list(found)

    return Runtime('torch.export', run)


def error_of(found: Tensor, wanted: Tensor) -> float:
    """The largest difference, relative to the largest value; infinite where shapes differ or a value is none."""
    if found.shape != wanted.shape:
        return float('inf')
    error = ((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-30)).item()
    return error if error == error else float('inf')


def speed(model: nn.Module, runtime: Runtime, image: Tensor) -> float:
    """Median over rounds of the model's time over the file's, by turns."""

    def once(call: Callable[[], object]) -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    with torch.no_grad():
        ratios = [once(lambda: model(image)) / once(lambda: runtime.run(image)) for _ in range(ROUNDS)]
    return statistics.median(ratios)
