"""What a task says of itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

from mmvssm.errors import UsageError
from mmvssm.openmmlab.layouts import Layout


@dataclass(frozen=True)
class Benchmark:
    """What the published figures of a task are of.

    Attributes:
        images: in its validation set.
        metrics: name of a published figure -> name of the metric that a test gives.
        scale: what makes a test's metric a published figure, in per cent.
    """

    images: int
    metrics: dict[str, str]
    scale: float = 1.0


@dataclass(frozen=True)
class Task:
    """A task's part of the commands.

    Attributes:
        scope: the `default_scope` of its configs.
        how_to_get: where its usual data set is.
        layouts: of data sets, tried in this order.
        show_in: (config, folder): `--show-dir`.
        keep_predictions: (config, path): `--out`.
        augment_tests: (config): completes `tta_model` and `tta_pipeline`.
        found: a data sample of a prediction -> what `found.Found` says of it, by field.
        truth: the same of the labels of a training sample.
        tile: (config, test pipeline, side, overlap) -> the pipeline for tiles; may change the config.
        predict_tiles: see `tiles.predict`; None where the model itself works by tiles then.
        benchmark: of the published figures; without metrics where there are none of whole models.
        embedded: there are embedded images for it, `--data demo`.
        labels: what its data sets have, as `mmvssm.data.Report.layout` calls it.
    """

    scope: str
    how_to_get: str
    layouts: tuple[Layout, ...]
    show_in: Callable[[Config, str], None]
    keep_predictions: Callable[[Config, str], None]
    augment_tests: Callable[[Config], None]
    found: Callable[[Any], dict[str, Any]]
    truth: Callable[[Any], dict[str, Any]]
    tile: Callable[[Config, list, int, float], list]
    predict_tiles: Callable[..., Any] | None = None
    benchmark: Benchmark = Benchmark(0, {})
    embedded: bool = True
    labels: str = 'label images'


def refusing(reason: str) -> dict[str, Any]:
    """What a task without pictures and predictions does wherever they are asked for: a UsageError with the reason."""

    def refuse(*given: Any, **more: Any) -> Any:
        raise UsageError(reason)

    names = ('show_in', 'keep_predictions', 'augment_tests', 'found', 'truth', 'tile', 'predict_tiles')
    return dict.fromkeys(names, refuse)
