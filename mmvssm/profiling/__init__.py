"""Size, cost, time and memory of models, side by side in one process; a wrong model is not timed."""

from .subject import Subject, subject
from .trial import Row, profile

__all__ = ['Row', 'Subject', 'profile', 'subject']
