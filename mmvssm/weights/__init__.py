"""Published checkpoints: where they are, how they are read without running what they hold, which keys fit."""

from .errors import (
    CheckpointError,
    DamagedFileError,
    DownloadError,
    KeyMismatchError,
    NotACheckpointError,
    UnsafePickleError,
)
from .match import KeyReport, Weights, fit, fits, sort_keys, unwrap
from .read import read_checkpoint

__all__ = [
    'CheckpointError',
    'DamagedFileError',
    'DownloadError',
    'KeyMismatchError',
    'KeyReport',
    'NotACheckpointError',
    'UnsafePickleError',
    'Weights',
    'fit',
    'fits',
    'read_checkpoint',
    'sort_keys',
    'unwrap',
]
