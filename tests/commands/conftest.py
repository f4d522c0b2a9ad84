"""Quick configs for every test of this folder."""

from tests.quick import quick_configs  # noqa: F401
