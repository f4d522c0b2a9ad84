"""The embedded demo data set (`shapes`): generated, deterministic, nothing to download."""
