"""Published checkpoints: where they are, how they are read without running what they hold, which keys fit."""

from .convert import convert
from .download import download, fetch
from .errors import (
    CheckpointError,
    DamagedFileError,
    DownloadError,
    KeyMismatchError,
    NotACheckpointError,
    UnsafePickleError,
)
from .match import KeyReport, Weights, fit, fits, sort_keys, unwrap
from .published import PUBLISHED, Checkpoint, Result, default_checkpoint, evaluation, list_checkpoints, results, state
from .read import local_path, read_checkpoint

__all__ = [
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
    'fit',
    'fits',
    'list_checkpoints',
    'local_path',
    'read_checkpoint',
    'results',
    'sort_keys',
    'state',
    'unwrap',
]
