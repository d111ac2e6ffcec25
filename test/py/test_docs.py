# SPDX-License-Identifier: Apache-2.0
"""Links and paths in the pages resolve, and decisions have their form."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASES = (ROOT, ROOT / "python" / "lumen_mlir")
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
DECISIONS = list((ROOT / "docs" / "decisions").glob("*.md"))
CODE = re.compile(r"^```.*?^```", re.M | re.S)
PATH = re.compile(r"`((?:[\w.-]+/)+(?:[\w.-]+\.(?:cpp|h|json|md|py|svg|td|txt))?)`")
# In llama.cpp, in model folders, and what a build makes.
OTHERS = ("ggml-cpu/", "additional_chat_templates/", "dist/")


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)", CODE.sub("", page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths(page):
    text = CODE.sub("", page.read_text())
    for link in re.findall(r"\]\((?!\w+:)([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
    if "experiments" not in page.parts:  # which tell of the tree of their day
        paths = [path for path in PATH.findall(text) if not path.startswith(OTHERS)]
        assert [path for path in paths if not any((base / path).exists() for base in BASES)] == []


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_decisions(page):
    text = page.read_text()
    assert re.findall(r"^## (.*)", text, re.M) == ["Context", "Choice", "Consequence"]
    assert text.count("\n") <= 80
    assert f"decisions/{page.name}" in (ROOT / "docs" / "README.md").read_text()


@pytest.mark.parametrize("page", ["README.md", "README.ko.md"])
def test_readme_names_all_commands(page):
    from lumen_mlir.cli.app import COMMANDS

    text = (ROOT / page).read_text()
    assert [name for name in COMMANDS if not re.search(rf"`(lumen )?{name}`", text)] == []


def test_floor_plan():
    """The picture has the layers of the contract in ``pyproject.toml``, from top to bottom."""
    contract = (ROOT / "pyproject.toml").read_text().partition('"__main__",')[2].partition("\n]")[0]
    layers = [set(line.split(" | ")) for line in re.findall(r'"(.+)"', contract)]
    drawn: dict[str, set[str]] = {}
    svg = (ROOT / "docs" / "images" / "floor-plan.svg").read_text()
    for y, name in re.findall(r' y="(\d+)" font-weight="bold"[^>]*>([^<]+)<', svg):
        drawn.setdefault(y, set()).add(name)
    assert list(drawn.values())[: len(layers)] == layers
