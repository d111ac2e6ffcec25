# SPDX-License-Identifier: Apache-2.0
"""The chat page is what its sources say, one file, and says whose libraries are in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from scripted_server import PAGE

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
LIBRARIES = json.loads((WEB / "package.json").read_text())["dependencies"]


def npm(*words: str) -> str:
    """What a command prints in the folder of the sources."""
    program = shutil.which("npm") or pytest.fail("npm is missing: `make test-web` installs it")
    assert (WEB / "node_modules").exists(), "`make test-web` installs packages of npm"
    with tempfile.TemporaryDirectory() as home:
        # It writes logs into the home folder.
        environment = {**os.environ, "HOME": home}
        command = [program, *words]
        done = subprocess.run(command, cwd=WEB, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_is_built_from_its_sources(tmp_path):
    npm("run", "build", "--", str(tmp_path / "page.html"))
    assert (tmp_path / "page.html").read_bytes() == PAGE.read_bytes(), "run `make page`"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_logic():
    assert re.search(r"^# fail 0$", npm("test"), re.MULTILINE)


def test_one_file():
    page = PAGE.read_text()
    inline = re.compile(r"<(script|style)[^>]*>.*?</\1>", re.DOTALL)
    assert inline.findall(page) == ["style", "script"]
    # A script that contains this would not end where it ends.
    assert "<!--" not in "".join(match[0] for match in inline.finditer(page))
    head = inline.sub("", page)
    # The icon is in the page.
    assert re.findall(r'(?:src|href)="(?!data:)', head) == []
    # Attributes of style, which a strict policy forbids, are in neither.
    assert " style=" not in head


def test_the_lock_names_no_registry():
    packages = json.loads((WEB / "package-lock.json").read_text())["packages"]
    others = {name: package for name, package in packages.items() if name}
    assert not [name for name, package in others.items() if "resolved" in package]
    assert not [name for name, package in others.items() if "integrity" not in package]


@pytest.mark.parametrize("library", LIBRARIES)
def test_licences(library):
    text = (ROOT / "licences" / f"{library}.txt").read_text()
    assert (
        text
        == f"{library}, in lumen_mlir/serve/page.html:\n\n"
        + (WEB / "node_modules" / library / "LICENSE").read_text()
    )
    assert f"`licences/{library}.txt`" in (ROOT / "docs" / "licences.md").read_text()
    assert f"{library} {LIBRARIES[library]}" in PAGE.read_text()[:1000]
