# SPDX-License-Identifier: Apache-2.0
"""What reads files turns the unforeseen into one clear error; here the unforeseen is what is looked for."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from lumen_mlir.errors import LumenError

# Warnings about bad input are many, and not looked at.
logging.getLogger("lumen_mlir").setLevel(logging.CRITICAL)


@contextlib.contextmanager
def unguarded() -> Iterator[None]:
    """Raises ``AssertionError`` for an error that the guard of a reader made of a foreign exception, and for
    messages of several lines."""
    try:
        yield
    except LumenError as error:
        cause = error.__cause__
        if cause is not None and not isinstance(cause, LumenError):
            raise AssertionError(f"the guard caught {cause!r}") from cause
        text = str(error)
        if any(c in text for c in "\n\r\x1b\0"):
            raise AssertionError(f"a message has control characters: {text!r}") from None
        if len(text) > 4000:
            raise AssertionError(f"a message of {len(text)} characters: {text[:200]}") from None
        raise
