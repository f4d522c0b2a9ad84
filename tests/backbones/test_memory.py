"""Images of ever new sizes cost no memory that stays."""

import subprocess
import sys

import pytest

RUN = """
import resource, sys
import torch
from mmvssm import create_model

model = create_model(sys.argv[1], features_only=True)
sizes = [(32 + 3 * i % 97, 32 + 5 * i % 89) for i in range(200)]
assert len(set(sizes)) == 200
peaks = []
for size in sizes:
    sum(y.square().mean() for y in model(torch.rand(1, 3, *size))).backward()
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(peaks[49], peaks[-1])
"""


@pytest.mark.slow
@pytest.mark.parametrize('name', ['test_vmamba', 'test_localvmamba', 'test_localvim', 'test_vil', 'test_heracles'])
def test_two_hundred_sizes(name):
    run = subprocess.run([sys.executable, '-c', RUN, name], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    after_50, after_200 = map(float, run.stdout.split())
    assert after_200 - after_50 < 60  # MB; index tables of small maps are a few
