"""What `make install` has put into the environment that the tests run in."""

import sys
from importlib.metadata import PackageNotFoundError, distribution, distributions, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
STAMPS = list(Path(sys.prefix).glob('.installed*'))
EXCLUDED = {line for line in (ROOT / 'requirements/excluded.txt').read_text().splitlines() if not line.startswith('#')}

pytestmark = pytest.mark.skipif(not STAMPS, reason='the environment was not made by `make install`')


def test_the_only_opencv_is_headless():
    names = {canonicalize_name(found.name) for found in distributions()}
    assert {name for name in names if name.startswith('opencv')} == {'opencv-python-headless'}


def test_versions_are_those_of_the_lock_file():
    lock = STAMPS[0].read_text().strip()
    if not lock:
        pytest.skip('installed without a lock file')
    lines = [line for line in (ROOT / lock).read_text().splitlines() if line and not line.lstrip().startswith('#')]
    wanted = [pin for pin in map(Requirement, lines) if pin.marker is None or pin.marker.evaluate()]
    cpu = '+cpu' in version('torch')  # without CUDA's libraries
    differing = {
        pin.name: found
        for pin in wanted
        if not (cpu and pin.name.startswith(('nvidia-', 'cuda-')))
        and not pin.specifier.contains(found := installed_version(pin.name), prereleases=True)
    }
    assert differing == {}


def installed_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return '0'


def test_every_requirement_is_met_but_the_excluded_ones():
    unmet = set()
    for found in distributions():
        for requirement in map(Requirement, distribution(found.name).requires or ()):
            if requirement.marker is not None and not requirement.marker.evaluate({'extra': ''}):
                continue
            if not requirement.specifier.contains(installed_version(requirement.name), prereleases=True):
                unmet.add(canonicalize_name(requirement.name))
    assert unmet <= EXCLUDED
