"""A family is its file, its YAML, its configs and tests, and one import line; outside of the package, its file."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
WITHOUT = """
import torch, mmvssm
from mmvssm.weights import COLLECTIONS, zoo
assert not mmvssm.list_models('heracles*') and len(mmvssm.list_models()) > 20
assert len(COLLECTIONS) == 6 and 'Heracles' not in zoo.page({})
assert [tuple(x.shape) for x in mmvssm.create_model('test_vmamba', features_only=True)(torch.zeros(1, 3, 64, 64))]
"""


FAMILY = """
from torch import nn

from mmvssm.backbones import Family, HierarchicalBackbone, Variant, register


class PlainNet(HierarchicalBackbone):
    first_conv = 'patch_embed'
    classifier_name = 'head'
    head_prefixes = ('head.',)
    fresh_prefixes = ('out_norms_of.',)

    def __init__(self, dims=(8, 16, 24, 32), **common):
        super().__init__(**common)
        self.patch_embed = nn.Conv2d(self.in_chans, dims[0], 4, stride=4)
        self.layers = nn.ModuleList(nn.Linear(dim, dim) for dim in dims)
        self.downs = nn.ModuleList(nn.Linear(dim, out) for dim, out in zip(dims, dims[1:]))
        self._finish(self._feature_table(dims, [f'layers.{i}' for i in range(len(dims))]))
        self.out_norms_of = nn.ModuleDict({str(i): nn.LayerNorm(dims[i]) for i in self.out_indices if self.out_norms})
        if not self.features_only:
            self.make_head()
        self._prune()

    def _cut(self, num):
        self.layers, self.downs = self.layers[:num], self.downs[: num - 1]

    def stem(self, x):
        return self.patch_embed(x).permute(0, 2, 3, 1)

    def run_stage(self, i, x):
        return x + self.layers[i](x).relu()

    def downsample(self, i, x):
        return self.downs[i](x[:, ::2, ::2])

    def final_norm(self, x):
        return x

    def out_norm(self, i, x):
        return self.out_norms_of[str(i)](x)

    def stage_modules(self, i):
        return [self.layers[i], *self.downs[i : i + 1]]

    def forward_head(self, x, pre_logits=False):
        x = x.mean((1, 2))
        return x if pre_logits else self.head(x)

    def make_head(self):
        self.head = nn.Linear(self.num_features, self.num_classes) if self.num_classes else nn.Identity()


VARIANTS = {'plainnet_tiny': Variant('For a test.'), 'plainnet_small': Variant('Wider.', dims=(16, 24, 32, 40))}
register(Family(PlainNet, prefix='plainnet_', checkpoint_filter_fn=lambda state, model: state, variants=VARIANTS))
"""
BESIDE = """
import timm, torch, mmvssm, plainnet
from mmvssm import registry
registry.register()
image = torch.zeros(1, 3, 64, 96)
model = timm.create_model('plainnet_small', num_classes=5).eval()
assert mmvssm.list_models('plainnet_*') == ['plainnet_small', 'plainnet_tiny']
assert model(image).shape == (1, 5) and model.variant == 'plainnet_small'
state = model.state_dict()
assert mmvssm.backbones.identify(state) == ['plainnet_small']
net = registry.build(dict(type='mmvssm.PlainNet', arch='small', out_indices=(1, 2), frozen_stages=1))
assert mmvssm.load_weights(net, state).ok
assert [tuple(x.shape) for x in net(image)] == [(1, 24, 8, 12), (1, 32, 4, 6)]
try:
    mmvssm.load_weights(mmvssm.create_model('plainnet_tiny'), state)
except mmvssm.weights.KeyMismatchError as error:
    assert 'looks like plainnet_small' in str(error)
else:
    raise AssertionError('taken by another variant')
"""


def run(code: str, cwd: Path) -> None:
    done = subprocess.run([sys.executable, '-c', code], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_family_is_deleted_with_its_files_and_one_line(tmp_path):
    ignore = shutil.ignore_patterns('__pycache__', 'heracles.*')
    for room in ('mmvssm', 'kernels'):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=ignore)
    families = tmp_path / 'mmvssm/backbones/__init__.py'
    families.write_text(families.read_text().replace('    heracles,\n', ''))
    run(WITHOUT, tmp_path)


def test_a_family_outside_of_the_package_is_a_file(tmp_path):
    (tmp_path / 'plainnet.py').write_text(FAMILY)
    run(BESIDE, tmp_path)
