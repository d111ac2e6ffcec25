# SPDX-License-Identifier: Apache-2.0
"""The stress test of thread teams, built to find races (``make test-asan`` has the other sanitizers)."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SOURCES = ["test/runtime/team_stress.cpp", "runtime/ThreadTeam.cpp", "runtime/TeamSize.cpp"]


def test_team_stress(tmp_path):
    compiler = shutil.which("clang++-22") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs clang++")
    program = tmp_path / "team-stress"
    command = [compiler, "-std=c++17", "-O1", "-g1", "-w", "-pthread", f"-I{ROOT}", *SOURCES, "-o", program]
    flags = ["-fsanitize=thread", "-fno-sanitize-recover=all"]
    built = subprocess.run([*command, *flags], cwd=ROOT, capture_output=True, text=True)
    if built.returncode and "libclang_rt" in built.stderr:  # They are not installed.
        built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    run = subprocess.run([program, "0.6"], capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout) == (0, "ok\n"), run.stderr[-4000:]
