# SPDX-License-Identifier: Apache-2.0
"""Text that a subcommand is given: on the command line, in a file, or on stdin."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import sys
from collections.abc import Sequence
from typing import BinaryIO

import click

from lumen_mlir.errors import LumenError

_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
# Bytes of a text, so that an endless file ends.
_MOST = 1 << 30


def read_text(path: str) -> str:
    """The UTF-8 text of a file, or of stdin for "-". Raises ``LumenError``."""
    if path == "-":
        if sys.stdin is None:
            raise LumenError("standard input is closed")
        return decoded(_read(sys.stdin.buffer, "standard input"), "standard input")
    try:
        with open(path, "rb") as stream:
            data = _read(stream, path)
    except OSError as error:
        raise LumenError(f"{path}: cannot be opened: {error.strerror or error}") from None
    return decoded(data, path)


def _read(stream: BinaryIO, where: str) -> bytes:
    pieces, size = [], 0
    while piece := stream.read(1 << 20):
        pieces.append(piece)
        size += len(piece)
        if size > _MOST:
            raise LumenError(f"{where}: has more than {_MOST >> 30} GiB of text")
    return b"".join(pieces)


def decoded(data: bytes, where: str) -> str:
    """``data`` as UTF-8. Raises ``LumenError`` that names the byte."""
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            raise LumenError(f"{where}: is {name}; UTF-8 was expected")
    try:
        # Some editors begin a text with a mark that is no part of it.
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        guess = _guess(data)
        hint = f"; it seems to be {guess}: iconv -f {guess} -t UTF-8 converts it" if guess else ""
        raise LumenError(f"{where}: byte {error.start} is not valid UTF-8 ({error.reason}){hint}") from None
    if data and 2 * data.count(0) >= len(data):
        raise LumenError(f"{where}: every second byte or more is 0, as in UTF-16; UTF-8 was expected")
    return text


def _guess(data: bytes) -> str | None:
    """The encoding of a text that is not UTF-8, where one is likely."""
    for name in ("UTF-16LE", "UTF-16BE") if 0 in data else ("CP949", "UTF-16LE", "UTF-16BE"):
        with contextlib.suppress(UnicodeDecodeError):
            text = data.decode(name)
            # Hangul, letters and marks: bytes of another encoding look different.
            if all("가" <= character <= "힣" or character.isascii() for character in text):
                return name
    return None


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}


def unescaped(text: str) -> str:
    """``text`` with ``\\n``, ``\\t``, ``\\r``, quotes and backslashes in place of what stands for them."""
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), text, flags=re.S)


def whole(text: str) -> str:
    """``text`` with characters in place of single bytes, as Python gives them where input is no UTF-8."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")


def _argument(text: str) -> str:
    """An argument's text, also where a locale without UTF-8 made it one character per byte."""
    try:
        return os.fsencode(text).decode("utf-8")
    except UnicodeError:
        return text


def text_of(prompt: str | None, file: str | None) -> str:
    """What ``-p`` or ``-f`` gave, else what stdin has (nothing, where that is a terminal)."""
    if prompt is not None and file is not None:
        raise click.UsageError("-p and -f exclude each other", click.get_current_context())
    if prompt is not None:
        return _argument(prompt)
    if file is None and (sys.stdin is None or sys.stdin.isatty()):
        return ""
    # Files end in a newline that is not part of what they say.
    return read_text(file or "-").removesuffix("\n").removesuffix("\r")


def texts_of(prompts: Sequence[str], files: Sequence[str]) -> list[str]:
    """What each ``-p`` or ``-f`` gave, else the one text of stdin."""
    if prompts and files:
        return [text_of(prompts[0], files[0])]
    if files.count("-") > 1:
        raise click.UsageError("stdin is given more than once", click.get_current_context())
    each = [(prompt, None) for prompt in prompts] + [(None, file) for file in files]
    return [text_of(*given) for given in each or [(None, None)]]
