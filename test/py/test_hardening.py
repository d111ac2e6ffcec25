# SPDX-License-Identifier: Apache-2.0
"""What the build does against mistakes with memory, and that loaded code is never writable."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lumen_mlir import _mlir

LUMEN_OPT = shutil.which("lumen-opt", path=Path(sys.executable).parent)
BINARIES = {"extension": _mlir.__file__, "lumen-opt": LUMEN_OPT}


@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf")
@pytest.mark.parametrize("name", BINARIES)
def test_binaries_are_hardened(name):
    if BINARIES[name] is None:
        pytest.skip("lumen-opt is not installed")
    if Path(BINARIES[name]).read_bytes()[:4] != b"\x7fELF":
        pytest.skip("the lumen-opt of a wheel is a script, which calls the extension")

    def readelf(option):
        command = ["readelf", "--wide", option, BINARIES[name]]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    segments = readelf("--segments")
    assert re.search(r"^\s+GNU_RELRO", segments, re.M)
    assert re.search(r"^\s+GNU_STACK .* RW  ", segments, re.M), "the stack is executable"
    assert not re.search(r"^\s+LOAD .* RWE ", segments, re.M)
    dynamic = readelf("--dynamic")
    assert re.search(r"\(FLAGS(_1)?\).*NOW", dynamic), "symbols are bound late"
    symbols = readelf("--dyn-syms")
    assert "__stack_chk_fail" in symbols, "no stack protector"


LOAD = """
from pathlib import Path
from lumen_mlir import ir
from lumen_mlir._mlir import codegen

with ir.Context():
    module = ir.Module.parse("llvm.func @f() { llvm.return }")
    loaded = codegen.ObjectFile(codegen.emit(module))
print(loaded.lookup("f"))
print(Path("/proc/self/maps").read_text())
"""


def test_loaded_code_is_never_writable():
    # In a process of its own, without what other tests' libraries map.
    run = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=True)
    address, *lines = run.stdout.split("\n")
    found = []
    for line in filter(None, lines):
        span, rights = line.split()[:2]
        begin, end = (int(number, 16) for number in span.split("-"))
        assert "wx" not in rights, line
        found += [rights] if begin <= int(address) < end else []
    assert found == ["r-xp"]
