"""Something that is wrong or slow."""

from typing import NamedTuple

ERROR, WARNING, NOTE = 'error', 'warning', 'note'


class Finding(NamedTuple):
    """One line for the user, and one that helps.

    Attributes:
        level: 'error' (the main job cannot run), 'warning' (something is wrong or slow), 'note'.
        what: is the matter.
        remedy: what to do about it.
    """

    level: str
    what: str
    remedy: str
