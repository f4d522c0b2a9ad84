"""Measurements, each after a check that what is measured is right; not part of the package."""
