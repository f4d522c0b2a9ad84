"""Spares the suite what other packages do again and again, with nothing of this project in it."""

import functools
from collections.abc import Iterator

import pytest


@pytest.fixture(scope='session', autouse=True)
def quick_configs() -> Iterator[None]:
    """mmengine lays out every config with yapf, and reads all of a package's metafiles for each base that is inherited.

    Here a config is dumped as it is, and each metafile is read once.
    """
    import mmengine.config.utils as configs
    from yapf.yapflib import yapf_api

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(configs, 'load', functools.cache(configs.load))
        patch.setattr(yapf_api, 'FormatCode', lambda text, **style: (text, False))
        yield
