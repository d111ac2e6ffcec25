# SPDX-License-Identifier: Apache-2.0
"""The floor plan holds: who imports whom, what stands where, and that each package says so."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

REPOSITORY = Path(__file__).parents[2]
# The sources, not what is installed, which may be links that a glob does not follow.
PACKAGE = REPOSITORY / "python" / "lumen_mlir"
MODULES = sorted(PACKAGE.glob("**/*.py"))
PACKAGES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))

# The parts of the extension, and who may know that they are of C++.
EXTENSION = {
    "compiler": {"codegen"},
    "execution_engine": {"codegen"},
    "formats": {"layout"},
    "generate": {"sampling"},
    "ir": {"ir"},
    "passmanager": {"passmanager"},
    "run": {"codegen", "__file__"},
    "storage": {"memory"},
    "support": {"team"},
}


# What anyone imports without a word.
FLOOR = {"errors", "version"}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("lumen_mlir", cache_dir=None)


@pytest.fixture(scope="module")
def imports(graph) -> dict[str, set[str]]:
    """For each package and module at the top: which others it imports."""
    found = {}
    for room in graph.find_children("lumen_mlir"):
        own = {room, *graph.find_descendants(room)}
        used = {name.split(".")[1] for each in own for name in graph.find_modules_directly_imported_by(each)}
        found[room.split(".")[1]] = used - {room.split(".")[1]}
    return found


def test_contracts():
    """``tool.importlinter`` in ``pyproject.toml`` says which package may import which."""
    # In a process of its own: it changes how Python logs.
    code = (
        "import sys; from importlinter.cli import lint_imports; "
        "sys.exit(lint_imports(no_cache=True, no_logo=True))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_imports_the_top(graph):
    """``lumen_mlir`` itself is for users: it names what stands in packages."""
    assert not graph.find_modules_that_directly_import("lumen_mlir")


def test_the_top_is_small():
    assert len(list(PACKAGE.glob("*.py"))) <= 8


def extension_imports(tree: ast.AST) -> set[str]:
    """The parts of ``lumen_mlir._mlir`` that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("lumen_mlir._mlir")}
        elif isinstance(node, ast.ImportFrom) and node.module in ("lumen_mlir", "lumen_mlir._mlir"):
            names = {alias.name for alias in node.names}
            found |= names if node.module.endswith("_mlir._mlir") else names & {"_mlir"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lumen_mlir._mlir."):
            found.add(node.module.split(".")[2])
    return found


def test_few_know_the_extension():
    for path in MODULES:
        parts = extension_imports(ast.parse(path.read_text()))
        room = path.relative_to(PACKAGE).with_suffix("").parts[0]
        assert parts <= EXTENSION.get(room, set()), path


def docstring(name: str) -> str:
    return ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text())) or ""


@pytest.mark.parametrize("name", PACKAGES)
def test_packages_say_what_they_are(name, imports):
    """The docstring of a package says what belongs there, and what is imported: that, and nothing else."""
    text = docstring(name)
    assert len(text.splitlines()) > 1
    sentence = re.search(r"\bImports\b([^.;]*)", text)
    assert sentence, "what does it import?"
    said = set(re.findall(r"``(\w+)``", sentence[1]))
    assert said <= imports[name]
    allowed = said | FLOOR
    if "below" in sentence[1]:
        below, found = set(said), set()
        while below:
            found |= below
            below = set().union(*(imports[room] for room in below)) - found
        allowed |= found
    assert imports[name] <= allowed


def test_loggers_are_named_after_modules():
    """The other names are ``lumen_mlir`` itself, which the command line listens to, and uvicorn's."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "logging.getLogger":
                assert ast.unparse(node.args[0]) in ("__name__", "'lumen_mlir'", "'uvicorn.error'"), path


def test_runtime_needs_no_compiler():
    """What runs compiled code, and what programs embed, knows neither MLIR nor LLVM."""
    paths = [*REPOSITORY.glob("runtime/*.*"), *REPOSITORY.glob("runtime/embed/*")]
    files = [path for path in paths if path.suffix in (".h", ".cpp")]
    assert files
    for path in files:
        assert not re.findall(r'#include\s*["<](?:mlir|llvm)[-/].*', path.read_text()), path.name
