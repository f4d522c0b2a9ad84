"""Published checkpoints: where they are, how they are read without running what they hold, which keys fit."""

from .convert import convert
from .download import download, fetch, fetch_from_hub, weights_in
from .errors import (
    CheckpointError,
    DamagedFileError,
    DownloadError,
    KeyMismatchError,
    NotACheckpointError,
    UnsafePickleError,
    naming,
)
from .match import Weights, find_weights, plain_name, plain_names, split_prefix, unwrap
from .published import (
    COLLECTIONS,
    PUBLISHED,
    Checkpoint,
    Result,
    default_checkpoint,
    evaluation,
    list_checkpoints,
    results,
    state,
)
from .report import KeyReport, fit, fits, sort_keys
from .source import local_path, read_checkpoint
from .values import prepare

__all__ = [
    'COLLECTIONS',
    'PUBLISHED',
    'Checkpoint',
    'CheckpointError',
    'DamagedFileError',
    'DownloadError',
    'KeyMismatchError',
    'KeyReport',
    'NotACheckpointError',
    'Result',
    'UnsafePickleError',
    'Weights',
    'convert',
    'default_checkpoint',
    'download',
    'evaluation',
    'fetch',
    'fetch_from_hub',
    'find_weights',
    'fit',
    'fits',
    'list_checkpoints',
    'local_path',
    'naming',
    'plain_name',
    'plain_names',
    'prepare',
    'read_checkpoint',
    'results',
    'sort_keys',
    'split_prefix',
    'state',
    'unwrap',
    'weights_in',
]
