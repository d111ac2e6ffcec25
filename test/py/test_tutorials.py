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

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
EXAMPLES = ROOT / "examples" / "formats"


def blocks(path: Path, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", path.read_text(), re.M | re.S)


def commands(path: Path) -> list[tuple[str, str]]:
    """(command, what it prints), in order."""
    result: list[tuple[str, str]] = []
    for block in blocks(path, "console"):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, output = part.partition("\n")
            result.append((command, output))
    return result


def pattern(expected: str) -> str:
    lines = []
    for line in expected.splitlines():
        if line.strip() == "…":
            lines.append(r"(?:.*\n)*?")
        else:
            # Runs of spaces may be longer where columns are aligned.
            pieces = [re.sub(r"(\\ )+", " +", re.escape(piece)) for piece in line.split("…")]
            lines.append(".*".join(pieces) + r"\n")
    return "".join(lines)


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
    listed = commands(path)
    assert len(listed) >= 5
    # One shell, because commands set variables; a mark behind each one separates what they print.
    script = "".join(f"{command}\necho; echo '=== {i}'\n" for i, (command, _) in enumerate(listed))
    done = subprocess.run(
        ["bash", "-c", f"exec 2>&1\n{script}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        timeout=300,
    )
    outputs = re.split(r"\n=== \d+\n", done.stdout.decode())
    assert len(outputs) == len(listed) + 1
    for (command, expected), output in zip(listed, outputs, strict=False):
        assert re.fullmatch(pattern(expected), output), f"$ {command}\n{output}\nexpected:\n{expected}"


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_listings(path):
    sources = [file.read_text() for file in EXAMPLES.glob("*.py")]
    listed = blocks(path, "python")
    assert listed
    for listing in listed:
        assert any(listing in source for source in sources), listing


def test_links():
    for path in [*TUTORIALS, ROOT / "docs" / "formats.md"]:
        for link in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.name}: {link}"
