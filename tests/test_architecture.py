"""The rooms of the house: which imports which, and how large a file may grow."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OPENMMLAB = ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmvssm.openmmlab')
# room -> what nothing in it may import, at any depth of a function
FORBIDDEN = {
    'kernels': (*OPENMMLAB, 'timm', 'mmvssm.backbones', 'mmvssm.weights', 'mmvssm.demo'),
    'mmvssm/weights': (*OPENMMLAB, 'timm', 'mmvssm.backbones', 'mmvssm.kernels'),
    'mmvssm/backbones': OPENMMLAB,
    'mmvssm/demo': (*OPENMMLAB, 'mmvssm.backbones', 'mmvssm.kernels', 'mmvssm.weights'),
}


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {node.module} | {f'{node.module}.{alias.name}' for alias in node.names}
    return names


@pytest.mark.parametrize('room', FORBIDDEN)
def test_arrows_go_down_only(room):
    wrong = [
        f'{path.relative_to(ROOT)} imports {name}'
        for path in sorted((ROOT / room).rglob('*.py'))
        for name in imports(path)
        if any(name == banned or name.startswith(banned + '.') for banned in FORBIDDEN[room])
    ]
    assert not wrong


@pytest.mark.parametrize(
    ('folder', 'limit'), [('mmvssm', 700), ('tests', 700), ('kernels', 400), ('tools', 110), ('configs', 110)]
)
def test_files_stay_small(folder, limit):
    whole = {'tools/gpu_session.py', 'tools/benchmark_kernels.py'}  # benchmarks: one command runs everything
    lines = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in (ROOT / folder).rglob('*.py')}
    assert {str(path): count for path, count in lines.items() if count > limit and str(path) not in whole} == {}
