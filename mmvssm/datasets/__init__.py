"""The embedded demo data set (`mmvssm.datasets.shapes`): generated, deterministic, nothing to download."""
