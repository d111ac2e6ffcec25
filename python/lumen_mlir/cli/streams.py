# SPDX-License-Identifier: Apache-2.0
"""The standard streams: there even where they were closed, in UTF-8, and safe for terminals."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from typing import Any, TextIO

from lumen_mlir.cli.styles import styled, width
from lumen_mlir.errors import visible

# What kind of message a line is, which people should see first.
_KIND = re.compile(r"lumen: (error|warning):(?=\s)")
_COLOURS = {"error": "red", "warning": "yellow"}


def tell(text: str) -> None:
    """One message on stderr, whatever stderr is: logs are read on terminals later.

    On a terminal it is wrapped at words, so that no path is broken, and no command to be copied.
    """
    text, stream = visible(text), sys.stderr
    limit = width(stream)
    if limit is not None and "(to reproduce: " not in text:
        # Imported here because a start in a pipe should not wait for it.
        from lumen_mlir.cli.wrapping import wrapped

        text = "\n".join(piece for line in text.split("\n") for piece in wrapped(line, limit, inside=False))
    if kind := _KIND.match(text):
        text = styled(stream, kind[0], "bold", _COLOURS[kind[1]]) + text[kind.end() :]
    elif stream.isatty() and text.startswith("lumen: "):
        text = styled(stream, text, "dim")
    raw(stream).write(text + "\n")
    stream.flush()


class _Terminal:
    """A text stream to a terminal that shows control characters and does not send them."""

    def __init__(self, stream: TextIO):
        self.raw = stream

    def write(self, text: str) -> int:
        self.raw.write(visible(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


def raw(stream: TextIO) -> TextIO:
    """The stream below, for who draws on the terminal."""
    return stream.raw if isinstance(stream, _Terminal) else stream


def prepare() -> None:
    """Makes the three streams usable. What was closed reads as empty and swallows what is written."""
    for number in range(3):
        # Else the next file that is opened would get the number, and messages meant for people.
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened == number:
                os.set_inheritable(number, True)
            else:
                os.dup2(opened, number)
                os.close(opened)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - open until the end
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        stream = getattr(sys, name)
        if isinstance(stream, _Terminal):
            continue
        # Models write UTF-8 whatever the locale says.
        stream.reconfigure(encoding="utf-8", errors="replace")
        if stream.isatty():
            setattr(sys, name, _Terminal(stream))


def silence() -> None:
    """Lets what is still to be written go nowhere: Python flushes the streams once more when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
