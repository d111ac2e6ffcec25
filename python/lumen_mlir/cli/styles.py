# SPDX-License-Identifier: Apache-2.0
"""How text looks on a terminal: its width, its colours. What goes to a pipe or a file has neither."""

from __future__ import annotations

import os
from typing import TextIO

from lumen_mlir.errors import visible

_CODES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}

# Where a terminal does not know its own width.
_USUAL_WIDTH = 80


def coloured(stream: TextIO) -> bool:
    """Whether ``stream`` is a terminal whose user wants colours (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width(stream: TextIO) -> int | None:
    """Columns of the terminal behind ``stream``; None where there is none. ``COLUMNS`` may say otherwise."""
    if not stream.isatty():
        return None
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_WIDTH
    except (OSError, ValueError):
        return _USUAL_WIDTH


def styled(stream: TextIO, text: str, *styles: str) -> str:
    """``text`` for ``stream``, in the styles where it shows colours.

    The result goes to ``streams.raw(stream)``: control characters of ``text`` itself are made visible here.
    """
    if not stream.isatty():
        return text
    text = visible(text)
    if not styles or not coloured(stream):
        return text
    return f"\x1b[{';'.join(str(_CODES[name]) for name in styles)}m{text}\x1b[0m"
