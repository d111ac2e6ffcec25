# SPDX-License-Identifier: Apache-2.0
"""The real bindings of NVIDIA's driver, with another library in the driver's place: what arrives there."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

needs_bindings = pytest.mark.skipif(
    importlib.util.find_spec("cuda") is None or importlib.util.find_spec("cuda.bindings") is None,
    reason="cuda-bindings is not installed",
)

PROGRAM = """
from cuda.bindings.driver import CUfunction
from lumen_mlir.run.cuda_driver import CudaDriver

gpu = CudaDriver()
print(gpu.name, gpu.processors, gpu.is_cooperative, flush=True)
first, second = CUfunction(0x11), CUfunction(0x12)
print(gpu.occupancy(first, 16, 4096), flush=True)
gpu.launch(first, 16, 4096, (0x7F0000001000, 0x7F0000002000))
team = 0x7F0000009000
words = (0x7F0000001000, 0x7F0000003000, 0x7F0000004000)
graph = gpu.record([(f, (each, team)) for f, each in zip((first, second, first), words)], 8, 512)
for _ in range(2):
    gpu.run(graph)
gpu.forget(graph)
"""

ARRIVES = """\
GPU 0 132 True
attribute 8 of 0x11 is 4096
occupancy 0x11 512 4096
1
attribute 8 of 0x11 is 4096
launch 0x11 grid 132 1 1 block 512 1 1 shared 4096 arguments 0x7f0000001000 0x7f0000002000 stream (nil)
create 0
attribute 8 of 0x11 is 512
graph 0x61 behind node 0x11 grid 132 1 1 block 256 1 1 shared 512 \
arguments 0x7f0000001000 0x7f0000009000 extra 0
attribute 8 of 0x12 is 512
graph 0x61 behind 0x100 node 0x12 grid 132 1 1 block 256 1 1 shared 512 \
arguments 0x7f0000003000 0x7f0000009000 extra 0
attribute 8 of 0x11 is 512
graph 0x61 behind 0x101 node 0x11 grid 132 1 1 block 256 1 1 shared 512 \
arguments 0x7f0000004000 0x7f0000009000 extra 0
instantiate 0x61 0
destroy 0x61
start 0x62 stream (nil)
start 0x62 stream (nil)
destroy ready 0x62
"""


@needs_bindings
def test_what_arrives(tmp_path):
    """Functions, grids, and arguments by value; each node of a graph behind the one before."""
    compiler = shutil.which("clang-22") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no compiler for C")
    source, library = Path(__file__).with_name("fake_driver.c"), tmp_path / "libcuda.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ARRIVES), done.stderr
