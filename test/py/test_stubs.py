# SPDX-License-Identifier: Apache-2.0
"""The types of the extension: ``_mlir/*.pyi`` have what the extension has (``python tools/stubs.py``)."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import lumen_mlir

STUBS = sorted(Path(lumen_mlir.__file__).parent.glob("_mlir/*.pyi"))
MODULES = [path.stem for path in STUBS if path.stem != "__init__"]


def public(names) -> set[str]:
    return {name for name in names if not name.startswith("_")}


def names_of(body: list[ast.stmt]) -> set[str]:
    found = set()
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return public(found)


def test_types_come_with_the_package():
    """``test/typing/user.py`` (``make lint``) shows that type checkers find them."""
    package = Path(lumen_mlir.__file__).parent
    assert (package / "py.typed").is_file() and len(STUBS) > 5


def test_every_module_has_a_stub():
    extension = importlib.import_module("lumen_mlir._mlir")
    assert public(vars(extension)) == set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_stubs_have_what_the_extension_has(module):
    tree = ast.parse((STUBS[0].parent / f"{module}.pyi").read_text())
    # An attribute of the extension: its modules cannot be imported by their names.
    found = getattr(importlib.import_module("lumen_mlir._mlir"), module)
    assert names_of(tree.body) == public(vars(found))
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            kind = getattr(found, node.name)
            assert names_of(node.body) == public(vars(kind)), node.name
            assert inspect.isclass(kind)
