"""What the user of a command can put right."""


class UsageError(ValueError):
    """A command line that cannot work; the message says what to give instead, in a line or two."""
