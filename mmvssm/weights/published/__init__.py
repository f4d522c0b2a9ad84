"""What was published: checkpoint files with their results, and results whose weights were never released.

One YAML file a family, called by the word that its variants' names begin with, in the keys of OpenMMLab's metafiles.
The figures are those of the official repositories and papers (`Paper` and `Code` of the collection). No authors publish
checksums; a downloaded file is checked by its content instead (`num_params`, and which variant it fits). The licence
is that of the repository: none states one for its weights alone.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
DEFAULT_CROP_PCT = 0.875  # of a family that published nothing

TASKS = {'ImageNet-1k': 'imagenet', 'COCO': 'coco', 'ADE20K': 'ade20k'}  # data set -> task
STATES = ('weights published', 'weights never released', 'architecture only')


@dataclass(frozen=True, kw_only=True)
class Result:
    """A published figure.

    model: variant name; task: 'imagenet', 'coco' or 'ade20k'; method: detector or segmentor and schedule
    config: name of the config of that detector or segmentor
    metrics: name -> figure, e.g. top1, box_AP, box_APs (small objects), mask_AP75, mIoU, mIoU_ms (multi-scale)
    params, flops: of the whole network, as published ('42M', '286G')
    remark: what a reader must know; `unverified` where the figure could not be traced to its authors' own text
    """

    model: str
    task: str
    metrics: dict[str, float]
    method: str = ''
    config: str = ''
    params: str = ''
    flops: str = ''
    remark: str = ''
    unverified: bool = False


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Result):
    """A published file and its result.

    num_params: elements of the file's weights, buffers aside (a detector's: its backbone's)
    sha256: None, since no authors give one
    default: whether `pretrained=True` takes it
    """

    name: str
    url: str
    license: str
    num_params: int
    sha256: str | None = None
    default: bool = False

    @property
    def file(self) -> str:
        """The file's name."""
        return self.url.rsplit('/', 1)[-1]

    @property
    def evaluation(self) -> dict:
        """How images were prepared for the ImageNet figure: input_size, crop_pct, interpolation, mean, std."""
        return evaluation(self.model)


@dataclass(frozen=True, kw_only=True)
class Collection:
    """A family as its authors published it.

    Attributes:
        prefix: what its variants' names begin with.
        title: the family's name.
        paper: arXiv number.
        repository: 'OWNER/NAME' at GitHub.
        license: that of the repository, a sentence.
        crop_pct: of the images on which its ImageNet figures were measured.
        notes: variant -> what is to be known of its state.
    """

    prefix: str
    title: str
    paper: str
    repository: str
    license: str
    crop_pct: float
    notes: dict[str, str]


def _collection(path: Path, entry: dict[str, Any]) -> Collection:
    return Collection(
        prefix=path.stem,
        title=entry['Name'],
        paper=entry['Paper']['URL'].rpartition('/')[2],
        repository=entry['Code']['URL'].removeprefix('https://github.com/'),
        license=entry['License'],
        crop_pct=entry['Evaluation']['crop_pct'],
        notes=entry.get('Notes', {}),
    )


def _record(entry: dict[str, Any]) -> Result:
    """A checkpoint where the entry has weights, else a result."""
    about, (found,) = entry['Metadata'], entry['Results']
    fields = dict(
        model=about['Variant'],
        task=TASKS[found['Dataset']],
        metrics=found['Metrics'],
        method=about.get('Method', ''),
        config=entry.get('Config', '').removeprefix('configs/').removesuffix('.py'),
        params=about.get('Parameters', ''),
        flops=about.get('FLOPs', ''),
        remark=entry.get('Remark', ''),
        unverified=entry.get('Unverified', False),
    )
    if 'Weights' not in entry:
        return Result(**fields)
    return Checkpoint(
        **fields,
        name=entry['Name'],
        url=entry['Weights'],
        license=entry['License'],
        num_params=about['Parameters in File'],
        sha256=entry.get('SHA256'),
        default=entry.get('Default', False),
    )


def _files() -> Iterator[tuple[Path, dict[str, Any]]]:
    loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)  # ten times as fast, where libyaml is
    for path in sorted(Path(__file__).parent.glob('*.yml')):
        yield path, yaml.load(path.read_text(encoding='utf-8'), loader)


COLLECTIONS: list[Collection] = []  # in the order of their papers
PUBLISHED: dict[str, Checkpoint] = {}
RESULTS: list[Result] = []  # figures without weights
for _path, _content in _files():
    COLLECTIONS += [_collection(_path, entry) for entry in _content['Collections']]
    for _found in map(_record, _content['Models']):
        if isinstance(_found, Checkpoint):
            PUBLISHED[_found.name] = _found
        else:
            RESULTS.append(_found)
COLLECTIONS.sort(key=lambda collection: (collection.paper, collection.title))
NOTES = {model: text for collection in COLLECTIONS for model, text in collection.notes.items()}


def list_checkpoints(model: str | None = None, task: str | None = None) -> list[Checkpoint]:
    """The published checkpoints, in the registry's order; of one variant or family prefix, of one task.

    Raises ValueError for an unknown task.
    """
    if task is not None and task not in TASKS.values():
        raise ValueError(f'task={task!r} is not known; allowed: {", ".join(TASKS.values())}')
    found = PUBLISHED.values()
    return [c for c in found if c.model.startswith(model or '') and task in (None, c.task)]


def find(name: str) -> Checkpoint:
    """The checkpoint of that name, or the default one of the variant of that name.

    Raises ValueError: the variant's state where it has no weights, near names for an unknown name.
    """
    if found := PUBLISHED.get(name) or default_checkpoint(name):
        return found
    if results(name) or name in NOTES:
        raise ValueError(f'{name}: {state(name)}' + (f'; {NOTES[name]}' if name in NOTES else ''))
    near = difflib.get_close_matches(name, PUBLISHED, n=4, cutoff=0.4) or list(PUBLISHED)
    raise ValueError(f'unknown checkpoint {name!r}; did you mean {", ".join(near)}?')


def default_checkpoint(model: str) -> Checkpoint | None:
    """The ImageNet checkpoint that `pretrained=True` takes, or None where none was published."""
    return next((c for c in PUBLISHED.values() if c.model == model and c.default), None)


def results(model: str) -> list[Result]:
    """Every published figure of a variant, those with weights first."""
    return [r for r in (*PUBLISHED.values(), *RESULTS) if r.model == model]


def state(model: str) -> str:
    """One of STATES: whether a variant's ImageNet weights are published, only its results, or nothing."""
    if default_checkpoint(model):
        return STATES[0]
    return STATES[1] if results(model) else STATES[2]


def evaluation(model: str) -> dict:
    """How images are prepared for a variant when it is evaluated: timm's input_size, crop_pct, mean and so on."""
    own = [c.crop_pct for c in COLLECTIONS if model.removeprefix('test_').startswith(c.prefix)]
    crop_pct = own[0] if own else DEFAULT_CROP_PCT
    return dict(
        input_size=(3, 224, 224), crop_pct=crop_pct, interpolation='bicubic', mean=IMAGENET_MEAN, std=IMAGENET_STD
    )
