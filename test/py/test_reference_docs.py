# SPDX-License-Identifier: Apache-2.0
"""The reference pages are what TableGen and the command line say now."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLEGEN = shutil.which("mlir-tblgen", path="/usr/lib/llvm-22/bin") or shutil.which("mlir-tblgen-22")


@pytest.mark.skipif(TABLEGEN is None, reason="needs mlir-tblgen, which those who use a wheel may not have")
def test_pages_are_not_stale():
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr + "run: make docs"
