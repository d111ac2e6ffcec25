# SPDX-License-Identifier: Apache-2.0
"""Text that a subcommand is given: on the command line, in a file, or on stdin."""

from __future__ import annotations

import os
import sys

import click

from lumen_mlir.errors import LumenError


def read_text(path: str) -> str:
    """The UTF-8 text of a file, or of stdin for "-". Raises ``LumenError``."""
    if path == "-":
        return decoded(sys.stdin.buffer.read(), "standard input")
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except OSError as error:
        raise LumenError(f"{path}: cannot be opened: {error.strerror or error}") from None
    return decoded(data, path)


def decoded(data: bytes, where: str) -> str:
    """``data`` as UTF-8. Raises ``LumenError`` that names the byte."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LumenError(f"{where}: byte {error.start} is not valid UTF-8 ({error.reason})") from None


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
