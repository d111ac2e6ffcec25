# SPDX-License-Identifier: Apache-2.0
"""Errors a user can meet. Each message is one line that names what was wrong, with the numbers."""


class LumenError(Exception):
    """Base class of every expected failure; the command line prints it as ``lumen: error: MESSAGE``."""


class MLIRError(LumenError):
    """MLIR refused an IR, a pipeline or a module.

    ``error_diagnostics`` is the list of ``ir.DiagnosticInfo`` (severity, location, message, notes) that
    explain why; the text of the exception lists them too.
    """

    def __init__(self, message: str, error_diagnostics: list | None = None):
        self.message = message
        self.error_diagnostics = list(error_diagnostics or [])
        super().__init__("\n".join([message, *_lines(self.error_diagnostics)]))


def _lines(diagnostics: list, indent: str = "  ") -> list[str]:
    """Each diagnostic as ``location: error: message``, its notes below it."""
    lines = []
    for diagnostic in diagnostics:
        where = str(diagnostic.location).removeprefix("loc(").removesuffix(")")
        lines.append(f"{indent}{where}: {diagnostic.severity.name.lower()}: {diagnostic.message}")
        lines += _lines(diagnostic.notes, indent + "  ")
    return lines
