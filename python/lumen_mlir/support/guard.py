# SPDX-License-Identifier: Apache-2.0
"""The last line of defence of what reads other people's files."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator

from lumen_mlir.errors import LumenError, one_line

# What odd values lead to where nothing looked at them before they were used.
_FOREIGN = (
    ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RecursionError, TypeError, ValueError,
    struct.error,
)  # fmt: skip
_MOST_CHARACTERS = 200

UNFORESEEN = "holds something that Lumen cannot read"
"""What the message of every error says that ``guarded`` makes."""


@contextlib.contextmanager
def guarded(path: str | os.PathLike[str], error: type[LumenError]) -> Iterator[None]:
    """Turns what reading the file ``path`` did not foresee into one ``error`` of one line.

    Values are checked where they are read; this is for what such a check has missed. The exception stays the
    error's ``__cause__``.
    """
    try:
        yield
    except _FOREIGN as failure:
        reason = one_line(failure)
        reason = reason if reason.isprintable() else ascii(reason)
        what = f"{type(failure).__name__}: {reason[:_MOST_CHARACTERS]}"
        raise error(f"{os.fspath(path)}: {UNFORESEEN} ({what})") from failure
