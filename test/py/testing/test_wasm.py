# SPDX-License-Identifier: Apache-2.0
"""The engine of WebAssembly that tests run code in."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from emulated import ENGINE

import lumen_mlir
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import CompilerOptions
from lumen_mlir.errors import LumenError
from lumen_mlir.testing import wasm

pytestmark = pytest.mark.wasm
TARGET = "wasm32-simd128"

ADD = """func.func @f(%x: tensor<?x64xf32>, %y: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %z = lumen.add %x, %y : tensor<?x64xf32>
  return %z : tensor<?x64xf32>
}"""


def test_calls():
    """Any number of threads is one worker; memory is used again."""
    engine = lumen_mlir.compile(ADD, TARGET, 3, use_cache=False)
    for rows in (0, 1, 40, 500, 1):
        x = np.random.default_rng(rows).standard_normal((rows, 64), np.float32)
        np.testing.assert_array_equal(engine.invoke("f", x, 2 * x), x + 2 * x)
    end = engine._code._memory._end
    x = np.ones((500, 64), np.float32)
    for _ in range(20):
        engine.invoke("f", x, x)
    # Places differ with those in pages of this process, so not every call finds what another has left.
    assert engine._code._memory._end < end + 4 * 3 * x.nbytes


def test_what_the_engine_says():
    engine = lumen_mlir.compile(ADD, TARGET, 1, use_cache=False)
    with pytest.raises(LumenError, match="^wasmtime says: there is no symbol 'g'$"):
        engine._code.lookup("g")
    with pytest.raises(LumenError, match="^no memory for 4294967296 bytes: WebAssembly has 4 GiB"):
        engine._code._memory.allocate(1 << 32, 0)
    with pytest.raises(LumenError, match="^wasmtime says: .*"):
        wasm._WasmCode(b"\0asm no module")
    assert ENGINE.missing(targets.native())


OUTSIDE = """
import sys
import numpy as np
from emulated import ENGINE
import lumen_mlir
from lumen_mlir.errors import LumenError
from lumen_mlir.run import device
device._others.append(ENGINE)
engine = lumen_mlir.compile(sys.argv[1], sys.argv[2], 1, use_cache=False)
x = np.ones((1, 64), np.float32)
call = engine.bind("f", x, x)
# Addresses of this process, and more rows than there are: beyond the end of the memory.
call.words(0)[1] = call.words(1)[1] = call.words(2)[1] = 1 << 24
type(call).buffers = lambda self: []
try:
    call.repeat()
except LumenError as error:
    print(error)
"""


def test_outside_of_the_memory():
    """In a process of its own, where nobody but wasmtime waits for the signal that comes of it."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", OUTSIDE, ADD, TARGET],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert re.match("wasmtime says: .*out of bounds", done.stdout), done.stdout


def test_kernels_are_not_profiled():
    with pytest.raises(LumenError, match="undefined symbol: lumen_clock"):
        lumen_mlir.compile(ADD, TARGET, 1, use_cache=False, options=CompilerOptions(profile=True))
