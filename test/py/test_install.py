# SPDX-License-Identifier: Apache-2.0
"""What Lumen says where a part of it is missing."""

import importlib.machinery
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lumen_mlir
from lumen_mlir import _mlir

ROOT = Path(__file__).parents[2]
LIBRARY = b"libMLIR.so.22.1"


@pytest.fixture
def package(tmp_path):
    """A folder with the package (links to its files), without its extension."""
    folder = tmp_path / "package" / "lumen_mlir"
    folder.mkdir(parents=True)
    for entry in Path(lumen_mlir.__file__).parent.iterdir():
        if entry.suffix != ".so":
            (folder / entry.name).symlink_to(entry)
    return folder


def run(package: Path, *command: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment)


def check(package: Path, sentence: str) -> None:
    """The command line says this sentence, and Python raises it as an error of both kinds."""
    said = run(package, "-m", "lumen_mlir", "generate", "-p", "x")
    assert (said.returncode, said.stdout, said.stderr) == (1, "", f"lumen: error: {sentence}\n")
    raised = run(package, "-c", "import lumen_mlir; lumen_mlir.LLM")
    assert raised.returncode == 1
    assert raised.stderr.splitlines()[-1] == f"lumen_mlir.errors.ExtensionError: {sentence}"
    caught = "import lumen_mlir\ntry: lumen_mlir.compile\nexcept ImportError as error: print(error)"
    assert run(package, "-c", caught).stdout == f"{sentence}\n"


def test_without_extension(package):
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    check(package, f"Lumen is not built for Python {version} here: make install, or install a wheel")


def test_without_library(package):
    data = Path(_mlir.__file__).read_bytes()
    if LIBRARY not in data:
        pytest.skip("MLIR is linked statically")
    # The loader looks for a library that nobody has.
    missing = b"libMLIR.so.00.0"
    name = f"_mlir{importlib.machinery.EXTENSION_SUFFIXES[0]}"
    (package / name).write_bytes(data.replace(LIBRARY, missing))
    check(package, f"{missing.decode()} is missing: apt-get install libmlir-22, or install a wheel")


def test_another_missing_module_is_not_ours(package):
    (package / "_mlir.py").write_text("import no_such_module")
    said = run(package, "-c", "import lumen_mlir; lumen_mlir.LLM")
    assert said.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'no_such_module'"


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
def test_build_without_mlir(tmp_path):
    """CMake ends with the line that helps, before it compiles anything."""
    hidden = "-DCMAKE_DISABLE_FIND_PACKAGE_MLIR=ON"
    environment = {name: value for name, value in os.environ.items() if name not in ("CC", "CXX")}
    command = ["cmake", "-S", ROOT, "-B", tmp_path / "build", hidden]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert "MLIR 22.1 is missing: apt-get install libmlir-22-dev" in " ".join(done.stderr.split())
