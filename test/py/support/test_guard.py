# SPDX-License-Identifier: Apache-2.0
"""Crashes of the compiler are errors; those of others go to whoever handles them."""

import signal
import subprocess
import sys

import pytest

SCRIPT = """
import ctypes, signal, sys
from lumen_mlir import ir
if sys.argv[1] == "handled":
    import faulthandler
    faulthandler.enable()
with ir.Context():
    ir.Module.parse("module {}")
ctypes.string_at(8)
"""


@pytest.mark.parametrize(
    ("mode", "says"), [("plain", ""), ("handled", "Fatal Python error: Segmentation fault")]
)
def test_other_crashes_are_left_alone(mode, says):
    done = subprocess.run([sys.executable, "-c", SCRIPT, mode], capture_output=True, text=True)
    assert done.returncode == -signal.SIGSEGV and says in done.stderr
