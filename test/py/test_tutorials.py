# SPDX-License-Identifier: Apache-2.0
"""The tutorials say what happens: their commands are run, and their output is compared.

A ``console`` block holds commands ("$ …") and what they print, in which "…" stands for anything, and a line
of only "…" for any lines. Python blocks are parts of the examples.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from example_pages import ROOT, blocks, commands, pattern

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
EXAMPLES = ROOT / "examples" / "formats"


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_commands(path, tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    binaries = str(Path(sys.executable).parent)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LUMEN_")},
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "LUMEN_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    listed = [command for block in blocks(path) if block.language == "console" for command in commands(block)]
    assert len(listed) >= 5
    # One shell, because commands set variables; a mark behind each one separates what they print.
    script = "".join(f"{command.text}\necho; echo '=== {i}'\n" for i, command in enumerate(listed))
    done = subprocess.run(
        ["bash", "-c", f"exec 2>&1\n{script}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        timeout=300,
    )
    outputs = re.split(r"\n=== \d+\n", done.stdout.decode())
    assert len(outputs) == len(listed) + 1
    for command, output in zip(listed, outputs, strict=False):
        expected = command.output or ""
        assert re.fullmatch(pattern(expected), output), f"$ {command.text}\n{output}\nexpected:\n{expected}"


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_listings(path):
    sources = [file.read_text() for file in EXAMPLES.glob("*.py")]
    listed = [block.text for block in blocks(path) if block.language == "python"]
    assert listed
    for listing in listed:
        assert any(listing in source for source in sources), listing
