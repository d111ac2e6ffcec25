# SPDX-License-Identifier: Apache-2.0
"""Messages as they are typed: one line, or several where a line says that it goes on."""

from __future__ import annotations

import contextlib
import sys
from typing import Protocol

import click

from lumen_mlir.errors import LumenError

PROMPT = "> "
CONTINUATION = ". "
_QUOTES = '"""'


class Reader(Protocol):
    """Gives what a person types."""

    def read(self, text: str = "") -> str:
        """The next message or command; ``text`` is there to be changed.

        Raises ``EOFError`` at the end, and ``KeyboardInterrupt`` for Ctrl-C.
        """

    def edit(self, text: str) -> str | None:
        """``text`` as a person changed it; None where it is to stay."""


def unfinished(text: str) -> bool:
    '''Whether a line follows: behind a backslash, and until a text that begins with """ ends with it.'''
    begins = _argument(text).startswith(_QUOTES)
    return text.endswith("\\") or (begins and text.count(_QUOTES) % 2 == 1)


def joined(text: str) -> str:
    """The message that was meant by ``text``, which is not ``unfinished``."""
    text = text.replace("\\\n", "\n")
    quoted = _argument(text)
    if quoted.startswith(_QUOTES) and quoted.rstrip().endswith(_QUOTES) and text.count(_QUOTES) == 2:
        inner = quoted.rstrip()[len(_QUOTES) : -len(_QUOTES)]
        return text[: len(text) - len(quoted)] + inner.removeprefix("\n").removesuffix("\n")
    return text


def _argument(text: str) -> str:
    """What a message says, or what stands behind the words of a command."""
    rest = text.lstrip(" ")
    if not rest.startswith("/"):
        return rest
    _, quotes, inner = rest.partition(f" {_QUOTES}")
    return quotes[1:] + inner


class PlainReader:
    """Lines by ``input()``: for terminals that cannot do more, and where stdout is no terminal."""

    def read(self, text: str = "") -> str:
        lines = self._line(PROMPT)
        while unfinished(lines):
            lines += "\n" + self._line(CONTINUATION)
        return joined(lines)

    def edit(self, text: str) -> str | None:
        try:
            edited = click.edit(text, extension=".txt")
        except click.ClickException as error:
            raise LumenError(f"the editor (VISUAL or EDITOR) failed: {error.format_message()}") from None
        return None if edited is None else edited.removesuffix("\n")

    def _line(self, prompt: str) -> str:
        # It gives input() its line editing, and not every Python has it.
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401
        if not sys.stdout.isatty():
            click.echo(prompt, err=True, nl=False)
        try:
            return input(prompt if sys.stdout.isatty() else "")
        except (EOFError, KeyboardInterrupt):
            # What is written next begins a line.
            click.echo(err=not sys.stdout.isatty())
            raise
        except UnicodeDecodeError as error:
            raise LumenError(f"standard input: byte {error.start} of a line is not valid UTF-8") from None
