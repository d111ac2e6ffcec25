# SPDX-License-Identifier: Apache-2.0
"""Texts in a number of columns: wrapped, shortened or cut. Wide characters, such as Hangul, take two."""

from __future__ import annotations

from lumen_mlir.cli.table import width


def shortened(text: str, limit: int) -> str:
    """``text`` in at most ``limit`` columns, with an ellipsis in its middle where it is longer."""
    if width(text) <= limit:
        return text
    head = cut(text, limit // 2)
    tail = cut(text[::-1], limit - 1 - width(head))[::-1]
    return f"{head}…{tail}"


def cut(text: str, limit: int) -> str:
    """The longest beginning of ``text`` that takes at most ``limit`` columns."""
    taken = 0
    for place, character in enumerate(text):
        taken += width(character)
        if taken > limit:
            return text[:place]
    return text


def wrapped(text: str, limit: int, inside: bool = True) -> list[str]:
    """``text`` in lines of at most ``limit`` columns, broken at spaces; where a word is longer, inside it.

    Without ``inside``, such a word has a line of its own that is too long. Lines after the first begin below
    the first one's text.
    """
    indent = " " * (len(text) - len(text.lstrip(" ")))
    if len(indent) > limit // 2 or len(indent) > limit - 2:
        indent, text = "", text.lstrip(" ")
    lines = []
    while width(text) > limit:
        head = cut(text, limit)
        space = head.rfind(" ") if not text[len(head) :].startswith(" ") else len(head)
        if space <= len(indent):
            # At least one character goes on, however narrow the terminal.
            space = max(len(head), len(indent) + 1)
            if not inside:
                space = text.find(" ", space)
                if space < 0:
                    break
        lines.append(text[:space].rstrip(" "))
        text = indent + text[space:].lstrip(" ")
    return [*lines, text]
