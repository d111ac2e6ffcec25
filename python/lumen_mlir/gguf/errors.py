# SPDX-License-Identifier: Apache-2.0
"""The error of everything that reads or writes GGUF files."""

from lumen_mlir.errors import LumenError


class GGUFError(LumenError):
    """A GGUF file that cannot be read, is damaged, or does not hold what was asked of it."""


def quoted(name: str, limit: int = 80) -> str:
    """``name`` in quotes, with control characters escaped and its length bounded, fit for one line."""
    text = name if len(name) <= limit else name[:limit] + "…"
    return ascii(text) if not text.isprintable() else f"'{text}'"
