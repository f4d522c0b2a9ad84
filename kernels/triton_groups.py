"""Arguments of Triton kernels in groups.

Triton takes tuples as arguments from 3.3 on, and named ones not everywhere; the oldest release in use is 3.2. So a
kernel whose parameters are annotated with groups, classes of NamedTuple, is written out before Triton sees it:
`x: Rows` becomes `x_ptr, x_b, ...` and `x.b` in its body `x_b`. The machine code is that of a kernel written so by
hand; a launch passes `*Rows(...)`.
"""

import ast
import inspect
import linecache
import textwrap
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

import triton.language as tl
from torch import Tensor


class Rows(NamedTuple):
    """A tensor that is read or written by token: its address, strides of batch, token and direction (or head)."""

    ptr: Any
    b: Any
    l: Any  # noqa: E741
    k: Any


def by_rows(tensor: Tensor) -> Tensor:
    """`tensor` with its last dimension contiguous."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def own_names(group: type) -> type:
    """Class decorator of a group whose fields are parameters under their own names, without the group's."""
    group.own_names = True  # type: ignore[attr-defined]
    return group


def groups_written_out(kernel: Callable) -> FunctionType:
    """The same kernel with a parameter for each field of each group.

    A field's name is `PARAMETER_FIELD`, or FIELD alone where the group's class is decorated with `own_names`.
    """
    assert isinstance(kernel, FunctionType)
    definition = ast.parse(textwrap.dedent(inspect.getsource(kernel))).body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    names: dict[tuple[str, str], str] = {}
    parameters = []
    for parameter in definition.args.args:
        group: Any = kernel.__annotations__.get(parameter.arg)
        if not hasattr(group, '_fields'):
            parameters.append(parameter)
            continue
        for field in group._fields:
            name = field if getattr(group, 'own_names', False) else f'{parameter.arg}_{field}'
            is_constant = group.__annotations__[field] is tl.constexpr
            annotation = ast.parse('tl.constexpr', mode='eval').body if is_constant else None
            names[parameter.arg, field] = name
            parameters.append(ast.arg(name, annotation))
    definition.args.args = parameters
    source = ast.unparse(ast.fix_missing_locations(_WriteOut(names).visit(definition))) + '\n'
    return _compiled(source, kernel)


class _WriteOut(ast.NodeTransformer):
    """`group.field` -> its parameter."""

    def __init__(self, names: dict[tuple[str, str], str]):
        self.names = names

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.value, ast.Name) and (node.value.id, node.attr) in self.names:
            return ast.Name(self.names[node.value.id, node.attr], node.ctx)
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.stmt | None:
        self.generic_visit(node)
        return None if _is_idle(node.targets[0], node.value) else node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt | None:
        self.generic_visit(node)
        return None if _is_idle(node.target, node.value) else node


def _is_idle(target: ast.expr, value: ast.expr | None) -> bool:
    """Whether it came out as `N = N`, where the parameter is called N already; Triton refuses that of constants."""
    return value is not None and ast.unparse(target) == ast.unparse(value)


def _compiled(source: str, like: FunctionType) -> FunctionType:
    """A function of a source that Triton can read again, in the module of another."""
    file = f'<{like.__module__}.{like.__qualname__}>'
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
    made: dict[str, Any] = {}
    exec(compile(source, file, 'exec'), like.__globals__, made)
    function = made[like.__name__]
    function.__qualname__, function.__module__ = like.__qualname__, like.__module__
    return function
