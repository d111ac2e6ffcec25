# SPDX-License-Identifier: Apache-2.0
"""What the sources must not do because one of the supported Pythons does it differently."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ("benchmarks", "docs", "examples", "pipelines", "python", "test", "tools")

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
# From Python 3.12 on, these run in the frame of their function.
INLINED = (ast.ListComp, ast.SetComp, ast.DictComp)
SCOPES = (*FUNCTIONS, *INLINED, ast.GeneratorExp, ast.ClassDef)


def within(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a scope, and the scopes inside of it, but not what is in them."""
    for node in ast.iter_child_nodes(scope):
        yield node
        if not isinstance(node, SCOPES):
            yield from within(node)


def bound(scope: ast.AST) -> set[str]:
    """The names that a scope gives values to."""
    names = set()
    for node in within(scope):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
    return names


def read(scope: ast.AST) -> set[str]:
    """The names that a scope takes from outside."""
    names = set()
    for node in within(scope):
        if isinstance(node, SCOPES):
            names |= read(node)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            names.add(node.id)
    return names - bound(scope)


def mixed_up(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name where a comprehension hides a name that another scope of its function reads.

    From Python 3.12 on, that scope finds the variable of the comprehension, which has no value then
    (https://github.com/python/cpython/issues/156664).
    """
    for function in (node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)):
        scopes = [node for node in within(function) if isinstance(node, SCOPES)]
        comprehensions = [scope for scope in scopes if isinstance(scope, INLINED)]
        if len(scopes) < 2 or not comprehensions:
            continue
        own = bound(function)
        for comprehension in comprehensions:
            for name in bound(comprehension) - own:
                if any(name in read(other) for other in scopes if other is not comprehension):
                    yield comprehension.lineno, name


def test_names_in_comprehensions_are_their_own():
    found = []
    for path in (path for folder in SOURCES for path in sorted((ROOT / folder).rglob("*.py"))):
        for line, name in mixed_up(ast.parse(path.read_text())):
            found.append(f"{path.relative_to(ROOT)}:{line}: {name}")
    assert found == []


MIXED_UP = """
def outer(key):
    def inner(pairs):
        changed = {key: value for key, value in pairs}
        return changed, [key + end for end in "xy"]
    def plain(pairs):
        return [key for key, _ in pairs], key
    def own(pairs):
        key = 1
        return [key for key, _ in pairs], lambda: key
    def generator(pairs):
        return set(key for key, _ in pairs), [key for _ in pairs]
"""


def test_a_name_that_is_mixed_up_is_found():
    assert list(mixed_up(ast.parse(MIXED_UP))) == [(4, "key")]
