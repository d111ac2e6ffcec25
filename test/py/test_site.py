# SPDX-License-Identifier: Apache-2.0
"""The site lists every page, and what ``make site`` checks is found where it is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GOOD = '<h1 id="top">Top</h1><a href="other.html#part">.</a><a href="#top">.</a><img src="a.png">'
OTHER = '<h2 id="part">Part</h2><a href="https://example.org/x#y">.</a><link href="data:,">'


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "check_site.py"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def site(tmp_path):
    (tmp_path / "index.html").write_text(GOOD)
    (tmp_path / "other.html").write_text(OTHER)
    (tmp_path / "a.png").write_bytes(b"")
    return tmp_path


def test_a_site_without_faults(site):
    done = check(site)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("other.html#part", "others.html#part", "index.html: others.html#part: is not in the site"),
        ("other.html#part", "other.html#parts", "index.html: other.html#parts: has no such anchor"),
        ("#top", "#bottom", "index.html: #bottom: has no such anchor"),
        ("a.png", "b.png", "index.html: b.png: is not in the site"),
        (
            "a.png",
            "//cdn.example.org/a.png",
            "index.html: //cdn.example.org/a.png: is loaded from another server",
        ),
    ],
)
def test_faults(site, right, wrong, told):
    (site / "index.html").write_text(GOOD.replace(f'"{right}"', f'"{wrong}"'))
    done = check(site)
    assert (done.returncode, done.stdout) == (1, told + "\n")


def test_no_site(tmp_path):
    assert check(tmp_path).returncode == 1


def test_every_page_is_in_the_navigation():
    """``make site`` says so too, but not everyone who writes a page builds the site."""
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    docs = ROOT / "docs"
    pages = [
        page.relative_to(docs).as_posix()
        for folder in ("", "reference", "tutorials")
        for page in (docs / folder).glob("*.md")
    ]
    assert [page for page in pages if f": {page}\n" not in listed] == []
