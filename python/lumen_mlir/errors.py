# SPDX-License-Identifier: Apache-2.0
"""Errors a user can meet. Each message is one line that names what was wrong, with the numbers."""

from __future__ import annotations

import re
import reprlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Control characters but tab and line feed. A carriage return is one where it does not end a line.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")

# Characters of a value or a name in a message.
_MOST = 80
_short = reprlib.Repr()
_short.maxstring = _short.maxother = _MOST
_short.maxlevel = 2


def visible(text: str) -> str:
    """``text`` with control characters as ``\\x1b``: names and texts of files must not steer a terminal."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class LumenError(Exception):
    """Base class of every expected failure; the command line prints it as ``lumen: error: MESSAGE``.

    Messages name what stands in files, so they are made ``visible``. ``hints``: lines that say what to do
    instead, which the command line prints below the message.
    """

    hints: tuple[str, ...] = ()

    def __init__(self, message: object = ""):
        super().__init__(visible(str(message)))


class MLIRError(LumenError):
    """MLIR refused an IR, a pipeline or a module.

    ``error_diagnostics`` is the list of ``ir.DiagnosticInfo`` (severity, location, message, notes) that
    explain why; the text of the exception lists them too.
    """

    def __init__(self, message: str, error_diagnostics: list | None = None):
        self.message = message
        self.error_diagnostics = list(error_diagnostics or [])
        super().__init__("\n".join([message, *_lines(self.error_diagnostics)]))


class ExtensionError(LumenError, ImportError):
    """The compiled part of the package cannot be loaded; the text says what to install."""


class LumenCompileError(LumenError):
    """A stage of the compiler failed.

    ``stage``: its name. ``diagnostics``: list of ``ir.DiagnosticInfo``. ``file``: the IR that the stage was
    given, or None where it could not be written. ``command``: what reproduces the failure with that file.
    ``kernel``: the name of the only kernel in it, if it is one.
    """

    def __init__(
        self,
        stage: str,
        message: str,
        diagnostics: list,
        file: Path | None,
        command: str,
        kernel: str = "",
    ):
        self.stage, self.diagnostics, self.file, self.command = stage, list(diagnostics), file, command
        self.kernel = kernel
        reproduce = f" (to reproduce: {command})" if file else ""
        where = f" on the kernel {quoted(kernel)}" if kernel else ""
        super().__init__(f"the compiler's stage '{stage}' failed{where}: {message}{reproduce}")


def about_extension(error: ImportError) -> ExtensionError | None:
    """What to do where the compiled part of the package does not load; None for other modules."""
    missing = re.match(r"(lib\S+\.so\S*): cannot open shared object file", str(error))
    if missing and missing[1].startswith(("libMLIR", "libLLVM")):
        return ExtensionError(f"{missing[1]} is missing: apt-get install libmlir-22, or install a wheel")
    # Without the library there still is a folder of this name, with the types of what it has.
    if (error.name or "").startswith("lumen_mlir._mlir") and error.path is None:
        python = "Python {}.{}".format(*sys.version_info)
        return ExtensionError(f"Lumen is not built for {python} here: make install, or install a wheel")
    return None


def about_missing(error: ImportError, what: str, extra: str) -> LumenError:
    """What to do where ``what`` needs a package that is not there; ``extra`` installs it."""
    return LumenError(f"{what} needs {error.name or error}: pip install 'lumen-mlir[{extra}]'")


def one_line(text: object, limit: int | None = None) -> str:
    """Any text, such as the message of an exception, in one line of at most ``limit`` characters."""
    return " ".join(str(text).split())[:limit]


def shown(value: object) -> str:
    """Any value as Python writes it, in one line of about 80 characters; of long and deep ones a part."""
    try:
        text = one_line(_short.repr(value))
    except Exception:  # a number of thousands of digits, say
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _MOST else text[:_MOST] + "…"


def quoted(name: str) -> str:
    """A name out of a file in quotes, with control characters escaped, in one line of about 80 characters."""
    text = name if len(name) <= _MOST else name[:_MOST] + "…"
    return ascii(text) if not text.isprintable() else f"'{text}'"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` where one of the ``known`` names is like ``name``, else an empty text."""
    # Imported here because few names are wrong.
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def describe(diagnostic: Any) -> str:
    """One ``ir.DiagnosticInfo`` without its notes, as ``location: error: message``."""
    where = str(diagnostic.location).removeprefix("loc(").removesuffix(")")
    return f"{where}: {diagnostic.severity.name.lower()}: {diagnostic.message}"


def _lines(diagnostics: list, indent: str = "  ") -> list[str]:
    """Each diagnostic as ``location: error: message``, its notes below it."""
    lines = []
    for diagnostic in diagnostics:
        lines.append(indent + describe(diagnostic))
        lines += _lines(diagnostic.notes, indent + "  ")
    return lines
