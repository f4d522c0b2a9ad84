"""The rooms of the house: which imports which, what a file, a function and a docstring may hold."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OPENMMLAB = ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmvssm.openmmlab')
# room -> what nothing in it may import, at any depth of a function
FORBIDDEN = {
    'kernels': (*OPENMMLAB, 'timm', 'mmvssm.backbones', 'mmvssm.weights', 'mmvssm.demo', 'mmvssm.pictures'),
    'mmvssm/weights': (*OPENMMLAB, 'timm', 'mmvssm.backbones', 'mmvssm.kernels', 'mmvssm.pictures'),
    'mmvssm/backbones': (*OPENMMLAB, 'mmvssm.pictures', 'mmvssm.demo'),
    'mmvssm/demo': (*OPENMMLAB, 'mmvssm.backbones', 'mmvssm.kernels', 'mmvssm.weights'),
    'mmvssm/pictures': (*OPENMMLAB, 'mmvssm.demo', 'mmvssm.commands'),
    'mmvssm/search': (*OPENMMLAB, 'mmvssm.commands', 'mmvssm.pictures', 'mmvssm.demo'),
    'mmvssm/data': (*OPENMMLAB, 'torch', 'timm', 'mmvssm.backbones', 'mmvssm.commands'),
    'mmvssm/export': (*OPENMMLAB, 'mmvssm.commands'),
    'mmvssm/profiling': ('mmvssm.commands', 'benchmarks'),
    'mmvssm/doctor': ('mmvssm.commands', 'benchmarks'),
    'mmvssm/openmmlab': ('tools', 'benchmarks', 'mmvssm.commands'),
    'mmvssm/commands': ('tools', 'benchmarks'),
}
LIMITS = {'mmvssm': 700, 'tests': 700, 'kernels': 400, 'benchmarks': 400, 'tools': 110, 'configs': 110}  # lines
WIDEST, WIDEST_RAW = 12, 30  # parameters of a function, of a constructor or a kernel


def files(*rooms: str) -> list[Path]:
    return [path for room in rooms for path in sorted((ROOT / room).rglob('*.py'))]


def module(path: Path) -> str:
    """Its name as it is imported: kernels/ is mmvssm.kernels."""
    parts = list(path.relative_to(ROOT).with_suffix('').parts)
    parts = ['mmvssm', *parts] if parts[0] == 'kernels' else parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding='utf-8'))


@functools.cache
def imports(path: Path) -> list[tuple[str, str | None]]:
    """(module, name taken from it or None) of each import, relative ones resolved."""
    package = module(path).split('.') if path.name == '__init__.py' else module(path).split('.')[:-1]
    found: list[tuple[str, str | None]] = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = '.'.join([*above, *([node.module] if node.module else [])])
            found += [(base, alias.name) for alias in node.names]
    return found


SOURCES = files('mmvssm', 'kernels', 'tools', 'benchmarks')
MODULES = {module(path): path for path in SOURCES}


def full_names(path: Path) -> set[str]:
    return {name for base, taken in imports(path) for name in (base, f'{base}.{taken}' if taken else base)}


@pytest.mark.parametrize('room', FORBIDDEN)
def test_arrows_go_down_only(room):
    wrong = [
        f'{path.relative_to(ROOT)} imports {name}'
        for path in files(room)
        for name in sorted(full_names(path))
        if any(name == banned or name.startswith(banned + '.') for banned in FORBIDDEN[room])
    ]
    assert not wrong


def reached(path: Path) -> set[str]:
    """The modules of the project that a module imports: the submodule where the name taken is one, else the package."""
    found = set()
    for base, taken in imports(path):
        known = [name for name in (f'{base}.{taken}', base) if name in MODULES]
        found |= set(known[:1]) - {module(path)}
    return found


def test_no_module_imports_itself_in_a_circle():
    edges = {name: reached(path) for name, path in MODULES.items()}
    while leaves := [name for name, targets in edges.items() if not targets & edges.keys()]:
        for name in leaves:
            del edges[name]
    circles = {name: sorted(targets & edges.keys()) for name, targets in edges.items()}
    assert circles == {}


def room(name: str) -> str:
    """mmvssm.weights.read -> mmvssm.weights; what lies beside the rooms is a room of its own."""
    return '.'.join(name.split('.')[:2])


def test_no_private_name_of_another_room():
    wrong = []
    for path in SOURCES:
        for base, taken in imports(path):
            if not base.startswith(('mmvssm', 'benchmarks')) or room(base) == room(module(path)):
                continue
            private = [part for part in f'{base}.{taken or ""}'.split('.') if re.match(r'_[^_]', part)]
            wrong += [f'{path.relative_to(ROOT)} takes {part} of {base}' for part in private]
    assert not wrong


def test_no_family_imports_a_family():
    families = [name for name in MODULES if re.fullmatch(r'mmvssm\.backbones\.[a-z]\w*', name)]
    assert len(families) > 5
    assert [(one, other) for one in families for other in families if other in reached(MODULES[one])] == []


HEAVY = ('torch', 'timm', 'numpy', 'matplotlib', 'PIL', 'onnx', 'mmvssm.openmmlab', *OPENMMLAB)


@pytest.mark.parametrize('path', files('mmvssm/commands'), ids=lambda path: path.stem)
def test_a_command_imports_nothing_heavy_before_it_runs(path):
    top = [node for node in tree(path).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [node.module if isinstance(node, ast.ImportFrom) else alias.name for node in top for alias in node.names]
    assert [name for name in names if (name and name.split('.')[0] in HEAVY) or name in HEAVY] == []


@pytest.mark.parametrize('folder', LIMITS)
def test_files_stay_small(folder):
    lines = {path.relative_to(ROOT): len(path.read_text(encoding='utf-8').splitlines()) for path in files(folder)}
    assert {str(path): count for path, count in lines.items() if count > LIMITS[folder]} == {}


def functions(path: Path) -> Iterator[tuple[ast.FunctionDef, ast.ClassDef | None]]:
    """Each function, and the class that it stands in."""
    inside = {id(item): node for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef) for item in node.body}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef):
            yield node, inside.get(id(node))


def is_raw(function: ast.FunctionDef) -> bool:
    """A kernel, or what torch.library takes, whose schema is flat."""
    words = ' '.join(ast.unparse(decorator) for decorator in function.decorator_list)
    return bool(re.search(r'njit|triton|^kernel\b|custom_op|register_fake', words))


def test_functions_group_their_parameters():
    public = {'selective_scan'}  # the operator's own tensors and options
    wrong = []
    for path in SOURCES:
        for function, owner in functions(path):
            arguments = function.args
            count = len([*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]) - (owner is not None)
            constructor = function.name == '__init__' and owner is not None and not owner.name.startswith('_')
            limit = WIDEST_RAW if constructor or is_raw(function) or function.name in public else WIDEST
            if count > limit:
                wrong.append(f'{path.relative_to(ROOT)}: {function.name} takes {count}')
    assert not wrong


def documented(path: Path) -> Iterator[tuple[str, str]]:
    """(name, docstring) of each function and class."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and (text := ast.get_docstring(node)):
            yield node.name, text


def test_an_entry_of_a_docstring_holds_two_parameters_at_most():
    wrong = []
    for path in SOURCES:
        for name, text in documented(path):
            section = re.search(r'^Args:\n((?: .*\n?|\n)*)', text, re.M)
            entries = re.findall(r'^ {4}([\w*]+(?:, [\w*]+)*)(?:\s*\(.*?\))?:', section[1] if section else '', re.M)
            wrong += [f'{path.relative_to(ROOT)}: {name}: {entry}' for entry in entries if entry.count(',') > 1]
    assert not wrong
