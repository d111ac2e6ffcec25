# SPDX-License-Identifier: Apache-2.0
"""Checks the built site: every link, picture, script and anchor is in it, and nothing comes from elsewhere.

python tools/check_site.py [FOLDER]
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
# Attributes by which a page loads something by itself.
_LOADS = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}


class Page(HTMLParser):
    """The anchors of a page, and what it refers to: ``(reference, is it loaded with the page)``."""

    def __init__(self, path: Path):
        super().__init__()
        self.anchors: set[str] = set()
        self.references: list[tuple[str, bool]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if value is None:
                continue
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            loads = (tag, name) in _LOADS
            if loads or (tag == "a" and name == "href"):
                self.references.append((value, loads))


def problems(folder: Path) -> list[str]:
    """What is wrong with the site in ``folder``, a line each."""
    pages = {path: Page(path) for path in sorted(folder.rglob("*.html"))}
    # The page for addresses that do not exist has absolute links.
    pages.pop(folder / "404.html", None)
    found = [] if pages else [f"{folder}: has no pages"]
    for path, page in pages.items():
        for reference, loads in page.references:
            reason = _wrong(reference, loads, path, pages)
            if reason:
                found.append(f"{path.relative_to(folder)}: {reference}: {reason}")
    return found


def _wrong(reference: str, loads: bool, path: Path, pages: dict[Path, Page]) -> str | None:
    address = urlsplit(reference)
    if address.scheme or address.netloc:
        return "is loaded from another server" if loads and address.scheme != "data" else None
    target = (path.parent / unquote(address.path)).resolve() if address.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.exists():
        return "is not in the site"
    anchor = unquote(address.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors:
        return "has no such anchor"
    return None


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "site").resolve()
    found = problems(folder)
    for line in found:
        print(line)
    return int(bool(found))


if __name__ == "__main__":
    raise SystemExit(main())
