# SPDX-License-Identifier: Apache-2.0
"""Sentences of Markdown pages, and what is hard to read in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

MOST_WORDS = 30

_FENCED = re.compile(r"^( *)(```|~~~).*?^\1\2[`~]*$", re.M | re.S)
_COMMENT = re.compile(r"<!--.*?-->", re.S)
_INDENTED = re.compile(r"(?:^|(?<=\n\n))(?: {4,}\S.*\n?|\n(?= {4}))+", re.M)
_IMAGE = re.compile(r"!\[([^\]]*)\]\([^)]*\)")
_LINK = re.compile(r"\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])")
_CODE = re.compile(r"(`+).+?\1", re.S)
_TAG = re.compile(r"</?(?:table|tr|th|td|br)\b[^>]*>")  # TableGen writes tables of attributes as HTML
_MARK = re.compile(r"^ *(?:#+|[-*+]|\d+\.|>) +")
# A point in these is no end, and neither is one within a number or a name.
_SHORT = re.compile(r"\b(?:e\.g|i\.e|etc|vs|approx|cf)\.$")
_END = re.compile(r"[.!?](?=[\"')\]*_]*(?:\s|$))[\"')\]*_]*")

# Pages tell how things are, not how they came to be so.
_HISTORY = (
    r"no longer(?! than)",
    r"used to (?!\w+ing)",
    r"until now|so far|in the past",
    r"previously|formerly|originally|recently(?! used)",
    r"(?:than|as) (?:it was |they were )before(?! a)",
    r"measured (?:again|anew)",
    r"(?:has|have) been (?:changed|improved|replaced|added|removed|fixed|measured)",
    r"we (?:tried|changed|added)",
    r"(?:was|were) (?:\w+ )?(?:earlier|last (?:week|month|time))",
    r"(?:earlier|older|previous|last) (?:round|commit)s?",
    r"(?:earlier|older|previous) versions? of (?:Lumen|this)",
)
HISTORY = re.compile(rf"\b(?:{'|'.join(_HISTORY)})\b", re.I)

# What TableGen writes about the types of operands is a list, not a sentence.
_TYPES = re.compile(r"(?:variadic of )?\d?D? ?(?:tensor|memref|vector) of .* or ")


def sentences(text: str) -> Iterator[str]:
    """The sentences of a page without its code. A heading, a list item and a cell of a table end one."""
    text = _COMMENT.sub("", _FENCED.sub("\n\n", text))
    text = _INDENTED.sub("\n", _without_lists(text))
    text = _LINK.sub(r"\1", _IMAGE.sub(r"\1", text))
    text = _TAG.sub("\n\n", _CODE.sub("code", text))
    for block in _blocks(text):
        begin = 0
        for end in _END.finditer(block):
            if _SHORT.search(block[begin : end.end()]):
                continue
            yield block[begin : end.end()].strip()
            begin = end.end()
        if block[begin:].strip():
            yield block[begin:].strip()


def _without_lists(text: str) -> str:
    """Lines that go on a list item are indented, too: they are text, not code."""
    lines, inside = [], False
    for line in text.split("\n"):
        if re.match(r" *(?:[-*+]|\d+\.) ", line):
            inside = True
        elif line and not line.startswith(" "):
            inside = False
        lines.append(line.strip() if inside and not re.match(r" *(?:[-*+]|\d+\.) ", line) else line)
    return "\n".join(lines)


def _blocks(text: str) -> Iterator[str]:
    block: list[str] = []
    for line in [*text.split("\n"), ""]:
        mark = _MARK.match(line)
        table = line.lstrip().startswith("|")
        if block and (mark or table or not line.strip()):
            yield " ".join(block)
            block = []
        if table:
            cells = (cell.strip() for cell in line.strip().strip("|").split("|"))
            yield from (cell for cell in cells if words(cell))
        elif line.strip():
            block.append(line[mark.end() :] if mark else line.strip())
            if line.startswith("#"):
                yield block.pop()


def words(sentence: str) -> int:
    """Words: what stands between spaces and has a letter or a digit."""
    return sum(any(character.isalnum() for character in word) for word in sentence.split())


def long_sentences(path: Path) -> list[str]:
    """Sentences of a page with more than ``MOST_WORDS`` words."""
    found = sentences(path.read_text(encoding="utf-8"))
    return [s for s in found if words(s) > MOST_WORDS and not _TYPES.match(s)]


def history(path: Path) -> list[str]:
    """Sentences of a page that say how something was at another time."""
    return [s for s in sentences(path.read_text(encoding="utf-8")) if HISTORY.search(s)]
