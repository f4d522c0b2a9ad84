"""A family is its file, its YAML, its configs and tests, and one import line."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
WITHOUT = """
import torch, mmvssm
from mmvssm.weights import COLLECTIONS, zoo
assert not mmvssm.list_models('heracles*') and len(mmvssm.list_models()) > 20
assert 'Heracles' not in [family.title for family in COLLECTIONS]
assert [tuple(x.shape) for x in mmvssm.create_model('test_vmamba', features_only=True)(torch.zeros(1, 3, 64, 64))]
"""


def test_a_family_is_deleted_with_its_files_and_one_line(tmp_path):
    ignore = shutil.ignore_patterns('__pycache__', 'heracles.*')
    for room in ('mmvssm', 'kernels'):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=ignore)
    families = tmp_path / 'mmvssm/backbones/__init__.py'
    families.write_text(families.read_text().replace('    heracles,\n', ''))
    run = subprocess.run([sys.executable, '-c', WITHOUT], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
